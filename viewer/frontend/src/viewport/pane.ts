/** One viewport: a stack of frames with its overlays, scroll bar, window and position. */
import { cache, Enums, eventTarget, imageLoader, type RenderingEngine, type StackViewport, type Types } from '@cornerstonejs/core';
import type { LoadedSeries } from '../data/dicomweb';
import { viewable, type Frame } from '../data/frames';
import { correctHalfPixel } from '../image/cpu';
import { Prefetcher } from '../image/prefetch';
import { frameOf, registerSeries } from '../image/provider';
import { configureRetrieval } from '../image/retrieval';
import type { Backend } from '../image/setup';
import { t } from '../i18n';
import { h } from '../ui/dom';
import { diagnostics } from '../diagnostics';
import { Overlay } from './overlay';
import { defaultIndex, planeOf } from './placing';
import { presetsFor, rangeToWindow, windowToRange, type Preset } from './presets';
import { ScrollBar } from './scrollbar';

export class Pane {
  readonly root: HTMLElement;
  readonly element: HTMLDivElement;
  readonly viewportId: string;
  loaded: LoadedSeries | null = null;
  private readonly overlay: Overlay;
  private readonly bar: ScrollBar;
  private readonly prefetcher: Prefetcher;
  private viewport: StackViewport | null = null;
  private range: Types.VOIRange | null = null;
  /** Image id of the pixels on screen: labels follow these, never the image still on its way. */
  private shown: string | null = null;
  private generation = 0;
  private busyTimer = 0;
  private retryTimer = 0;
  private failures = 0;

  constructor(
    private readonly engine: RenderingEngine,
    private readonly backend: Backend,
    index: number,
    private readonly changed: (pane: Pane) => void,
  ) {
    this.viewportId = `pane-${index}`;
    this.element = h('div', { class: 'canvas-host', testid: `viewport-${index}` });
    this.overlay = new Overlay();
    this.bar = new ScrollBar((target) => void this.goTo(target));
    this.root = h('div', { class: 'pane', testid: `pane-${index}` }, this.element, this.overlay.root, this.bar.root);
    this.prefetcher = new Prefetcher(this.viewportId, backend);
    this.element.addEventListener('contextmenu', (event) => event.preventDefault());
    // A mark drawn now would belong to the image that is coming, not to the one that is seen.
    const guard = (event: Event) => {
      if (this.waiting && !(event instanceof MouseEvent && event.button !== 0)) event.stopPropagation();
    };
    this.root.addEventListener('mousedown', guard, { capture: true });
    this.root.addEventListener('touchstart', guard, { capture: true });
  }

  /** Must be in the document by now: the canvas takes its size from it. */
  enable(): void {
    this.engine.enableElement({ viewportId: this.viewportId, type: Enums.ViewportType.STACK, element: this.element });
    this.viewport = this.engine.getViewport(this.viewportId) as StackViewport;
    if (this.backend === 'cpu') correctHalfPixel(this.viewport, () => (this.frame ? planeOf(this.frame) : null));
    const on = (type: string, handler: (detail: never) => void) =>
      this.element.addEventListener(type, (event) => handler((event as CustomEvent).detail as never));
    on(Enums.Events.PRE_STACK_NEW_IMAGE, (detail: { imageId: string }) => this.busy(!cache.isLoaded(detail.imageId)));
    on(Enums.Events.STACK_NEW_IMAGE, (detail: { image: Types.IImage; imageId: string }) => this.arrived(detail.image));
    on(Enums.Events.VOI_MODIFIED, (detail: { range: Types.VOIRange }) => this.windowed(detail.range));
    on(Enums.Events.CAMERA_MODIFIED, () => this.refresh());
    on(Enums.Events.IMAGE_RENDERED, () => this.refresh());
    eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_FAILED, (event: Event) => {
      const { imageId } = (event as CustomEvent<{ imageId: string }>).detail;
      if (imageId === this.frames[this.index]?.imageId) this.failed(imageId);
    });
  }

  get stack(): StackViewport | null {
    return this.loaded ? this.viewport : null;
  }

  get frames(): readonly Frame[] {
    return this.loaded?.frames ?? [];
  }

  get index(): number {
    return this.stack?.getTargetImageIdIndex() ?? 0;
  }

  /** Of the pixels on screen. */
  get frame(): Frame | null {
    return this.shown ? frameOf(this.shown) : null;
  }

  /** What is on screen is not what was asked for. */
  private get waiting(): boolean {
    return this.shown !== (this.frames[this.index]?.imageId ?? null);
  }

  get voi(): Types.VOIRange | null {
    return this.range;
  }

  async show(loaded: LoadedSeries, index?: number): Promise<void> {
    const viewport = this.viewport;
    const start = index ?? defaultIndex(loaded);
    const frame = loaded.frames[start];
    if (!viewport || !frame) return;
    const generation = ++this.generation;
    registerSeries(loaded);
    this.prefetcher.restart();
    this.loaded = loaded;
    this.range = null;
    this.shown = null;
    // Never the pixels of one series under the name of another.
    this.root.dataset['state'] = 'blank';
    this.overlay.series(loaded);
    this.bar.count(loaded.frames.map((entry) => entry.imageId));
    if (!viewable(frame)) {
      this.overlay.failed(t().notViewable);
      this.changed(this);
      return;
    }
    this.busy(true);
    configureRetrieval(frame, this.backend);
    try {
      await viewport.setStack(loaded.frames.map((entry) => entry.imageId), start);
      if (generation !== this.generation) return;
      // A CT without a stored window would open from air to metal: start from soft tissue.
      if (frame.modality === 'CT' && !this.storedWindow()) this.applyPreset(presetsFor('CT')[0]!);
      viewport.render();
    } catch {
      if (generation === this.generation) this.failed(frame.imageId);
    }
    this.changed(this);
  }

  clear(): void {
    this.generation += 1;
    this.prefetcher.restart();
  }

  async goTo(index: number): Promise<void> {
    const viewport = this.stack;
    if (!viewport) return;
    const target = Math.max(0, Math.min(this.frames.length - 1, index));
    if (target === viewport.getTargetImageIdIndex()) return;
    try {
      await viewport.setImageIdIndex(target);
    } catch {
      this.failed(this.frames[target]!.imageId);
    }
  }

  step(delta: number): Promise<void> {
    return this.goTo(this.index + delta);
  }

  applyPreset(preset: Preset): void {
    const viewport = this.stack;
    if (!viewport) return;
    if (preset.window) this.setRange(windowToRange(preset.window.width, preset.window.level));
    else if (preset.name === 'full') this.setRange(this.fullRange());
    else this.setRange(this.storedWindow() ?? this.fullRange());
  }

  setRange(range: Types.VOIRange | null): void {
    if (!range || !this.stack) return;
    this.stack.setProperties({ voiRange: range });
    this.windowed(range);
    this.stack.render();
  }

  invert(): void {
    this.stack?.setProperties({ invert: !this.stack.getProperties().invert });
    this.stack?.render();
  }

  rotate(): void {
    const viewport = this.stack;
    if (!viewport) return;
    viewport.setViewPresentation({ rotation: (viewport.getViewPresentation().rotation ?? 0) + 90 });
    viewport.render();
  }

  flip(horizontal: boolean): void {
    const viewport = this.stack;
    if (!viewport) return;
    const camera = viewport.getCamera();
    viewport.setCamera(horizontal ? { flipHorizontal: !camera.flipHorizontal } : { flipVertical: !camera.flipVertical });
    viewport.render();
  }

  reset(): void {
    const viewport = this.stack;
    if (!viewport) return;
    viewport.resetProperties();
    viewport.resetCamera({ resetPan: true, resetZoom: true, resetToCenter: true });
    if (this.backend === 'cpu') viewport.setViewPresentation({ rotation: 0 });
    this.applyPreset(this.storedWindow() || this.frame?.modality !== 'CT' ? { name: 'default', window: null } : presetsFor('CT')[0]!);
    viewport.render();
  }

  /** The window the image itself carries. */
  private storedWindow(): Types.VOIRange | null {
    const image = this.stack?.getCornerstoneImage();
    const dataSet = this.loaded?.dataSets.get(this.frame?.sopInstanceUid ?? '');
    if (!image || image.color) return null;
    const inGroups = JSON.stringify(dataSet?.['52009229'] ?? '').includes('"00281050"');
    if (!dataSet?.['00281050']?.Value?.length && !inGroups) return null;
    const width = Number([image.windowWidth].flat()[0]);
    const level = Number([image.windowCenter].flat()[0]);
    return width >= 1 && Number.isFinite(level) ? windowToRange(width, level) : null;
  }

  private fullRange(): Types.VOIRange | null {
    const image = this.stack?.getCornerstoneImage();
    if (!image || image.color) return null;
    return { lower: image.minPixelValue, upper: Math.max(image.maxPixelValue, image.minPixelValue + 1) };
  }

  private arrived(image: Types.IImage): void {
    const exact = (image.imageQualityStatus ?? Enums.ImageQualityStatus.FULL_RESOLUTION) >= Enums.ImageQualityStatus.FULL_RESOLUTION;
    this.shown = image.imageId;
    this.busy(false);
    this.root.dataset['state'] = '';
    this.overlay.quality(exact);
    this.failures = 0;
    diagnostics.imageArrived(image.imageId, exact);
    // The CPU renderer falls back to the image's own window on every new slice.
    if (this.backend === 'cpu' && this.range && this.stack) {
      const range = this.range;
      queueMicrotask(() => this.setRange(range));
    }
    if (exact) {
      const imageIds = this.frames.map((frame) => frame.imageId);
      const index = imageIds.indexOf(image.imageId);
      this.bar.position(index);
      this.prefetcher.moved(imageIds, index, image.sizeInBytes);
    }
    this.changed(this);
  }

  private windowed(range: Types.VOIRange): void {
    this.range = { ...range };
    this.refresh();
  }

  private refresh(): void {
    const viewport = this.stack;
    const frame = this.frame;
    if (!viewport || !frame) return;
    const grey = viewport.getCornerstoneImage()?.color === false || (frame.samplesPerPixel === 1 && !frame.photometric.startsWith('PALETTE'));
    const range = this.range ?? viewport.getProperties().voiRange ?? null;
    this.overlay.update({
      frame,
      index: this.frames.indexOf(frame),
      count: this.frames.length,
      window: grey && range ? rangeToWindow(range) : null,
      canvasToWorld: (point) => viewport.canvasToWorld(point),
      worldToCanvas: (point) => viewport.worldToCanvas(point),
      width: this.element.clientWidth,
      height: this.element.clientHeight,
    });
    diagnostics.rendered(this.viewportId, frame.imageId);
  }

  /** Said on the image, and tried again while the doctor keeps looking at it: 2, 4, 8 … 30 seconds. */
  private failed(imageId: string): void {
    this.busy(false);
    this.root.dataset['state'] = 'blank';
    this.overlay.failed(t().frameFailed);
    window.clearTimeout(this.retryTimer);
    const delay = Math.min(30_000, 2000 * 2 ** this.failures++);
    this.retryTimer = window.setTimeout(() => void this.retry(imageId), delay);
  }

  private async retry(imageId: string): Promise<void> {
    const index = this.index;
    if (this.frames[index]?.imageId !== imageId || !this.stack) return;
    const options = { requestType: Enums.RequestType.Interaction, priority: 0, useRGBA: this.backend === 'cpu' };
    try {
      await imageLoader.loadAndCacheImage(imageId, options);
    } catch {
      return; // IMAGE_LOAD_FAILED has scheduled the next attempt.
    }
    if (this.loaded && this.frames[this.index]?.imageId === imageId) {
      const range = this.range;
      await this.show(this.loaded, index);
      this.setRange(range);
    }
  }

  /** The loading mark appears only when loading is long enough to be noticed. */
  private busy(on: boolean): void {
    window.clearTimeout(this.busyTimer);
    if (!on) {
      this.overlay.busy(false);
      return;
    }
    this.busyTimer = window.setTimeout(() => {
      this.overlay.busy(true);
      this.root.dataset['state'] ||= 'stale';
    }, 120);
  }
}
