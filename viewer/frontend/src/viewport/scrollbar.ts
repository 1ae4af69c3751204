/** The bar at the edge of a pane: where in the series we are, which slices are already here. */
import { cache, Enums, eventTarget } from '@cornerstonejs/core';
import { h, show } from '../ui/dom';

export class ScrollBar {
  private readonly thumb = h('div', { class: 'scroll-thumb' });
  private readonly loadedCanvas = h('canvas', { class: 'scroll-loaded', width: 1, height: 1 });
  readonly root = h('div', { class: 'scrollbar', testid: 'slice-scrollbar', hidden: true }, this.loadedCanvas, this.thumb);
  private imageIds: string[] = [];
  private pending = 0;

  constructor(private readonly goTo: (index: number) => void) {
    const drag = (event: PointerEvent) => {
      const box = this.root.getBoundingClientRect();
      const share = Math.max(0, Math.min(1, (event.clientY - box.top) / box.height));
      this.goTo(Math.round(share * (this.imageIds.length - 1)));
    };
    this.root.addEventListener('pointerdown', (event) => {
      this.root.setPointerCapture(event.pointerId);
      drag(event);
      event.preventDefault();
    });
    this.root.addEventListener('pointermove', (event) => {
      if (this.root.hasPointerCapture(event.pointerId)) drag(event);
    });
    eventTarget.addEventListener(Enums.Events.IMAGE_CACHE_IMAGE_ADDED, () => this.schedule());
  }

  count(imageIds: string[]): void {
    this.imageIds = imageIds;
    show(this.root, imageIds.length > 1);
    this.schedule();
  }

  position(index: number): void {
    const share = this.imageIds.length > 1 ? index / (this.imageIds.length - 1) : 0;
    this.thumb.style.top = `${(share * 100).toFixed(2)}%`;
  }

  private schedule(): void {
    if (this.pending || this.root.hidden) return;
    this.pending = window.setTimeout(() => {
      this.pending = 0;
      this.paint();
    }, 100);
  }

  private paint(): void {
    this.loadedCanvas.height = Math.max(1, this.imageIds.length);
    const pen = this.loadedCanvas.getContext('2d');
    if (!pen) return;
    pen.clearRect(0, 0, 1, this.imageIds.length);
    pen.fillStyle = 'rgb(92, 112, 132)';
    this.imageIds.forEach((imageId, i) => {
      if (cache.isLoaded(imageId)) pen.fillRect(0, i, 1, 1);
    });
  }
}
