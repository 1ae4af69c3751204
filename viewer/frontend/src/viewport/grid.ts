/** One, two or four panes; one of them is the active one that keys and buttons act on. */
import type { RenderingEngine } from '@cornerstonejs/core';
import type { LoadedSeries } from '../data/dicomweb';
import type { Backend } from '../image/setup';
import type { Toolset } from '../tools/toolset';
import { h } from '../ui/dom';
import { DRAG_TYPE } from '../ui/rail';
import { Pane } from './pane';

export type Layout = 1 | 2 | 4;

export interface GridHooks {
  changed: () => void;
  /** A thumbnail was dropped on a pane. */
  dropped: (seriesUid: string, pane: Pane) => void;
}

export class Grid {
  readonly root = h('main', { class: 'grid', testid: 'grid' });
  readonly panes: Pane[] = [];
  private layout_: Layout = 1;
  private active_ = 0;
  private beforeSingle: Layout | null = null;

  constructor(
    private readonly engine: RenderingEngine,
    private readonly backend: Backend,
    private readonly tools: Toolset,
    private readonly hooks: GridHooks,
  ) {
    new ResizeObserver(() => this.resize()).observe(this.root);
    // Ctrl + wheel zooms the image, never the page.
    this.root.addEventListener('wheel', (event) => event.ctrlKey && event.preventDefault(), { passive: false });
  }

  get layout(): Layout {
    return this.layout_;
  }

  get active(): Pane | null {
    return this.panes[this.active_] ?? null;
  }

  get visible(): Pane[] {
    return this.panes.slice(0, this.layout_);
  }

  activate(pane: Pane): void {
    const index = this.panes.indexOf(pane);
    if (index < 0 || index >= this.layout_) return;
    this.active_ = index;
    this.paint();
    this.hooks.changed();
  }

  setLayout(layout: Layout): void {
    this.layout_ = layout;
    this.beforeSingle = null;
    while (this.panes.length < layout) this.addPane();
    if (this.active_ >= layout) this.active_ = 0;
    this.paint();
    this.resize();
    this.hooks.changed();
  }

  /** The pane that holds a series, the active one first. */
  holding(seriesUid: string): Pane | null {
    const candidates = [this.active, ...this.visible].filter((pane): pane is Pane => pane !== null);
    return candidates.find((pane) => pane.loaded?.series.uid === seriesUid) ?? null;
  }

  async show(loaded: LoadedSeries, pane: Pane | null = this.active, index?: number): Promise<void> {
    if (pane) await pane.show(loaded, index);
  }

  /** Double click: this pane alone, and back. */
  toggleSingle(pane: Pane): void {
    if (this.layout_ > 1) {
      const before = this.layout_;
      const index = this.panes.indexOf(pane);
      const first = this.panes[0]!;
      if (index > 0) this.panes.splice(0, 1, this.panes.splice(index, 1, first)[0]!);
      this.active_ = 0;
      this.setLayout(1);
      this.beforeSingle = before;
    } else if (this.beforeSingle) this.setLayout(this.beforeSingle);
  }

  private addPane(): void {
    const pane = new Pane(this.engine, this.backend, this.panes.length, () => this.hooks.changed());
    this.panes.push(pane);
    this.root.append(pane.root);
    pane.enable();
    this.tools.addPane(pane.viewportId, this.engine.id);
    const { root } = pane;
    root.addEventListener('pointerdown', () => this.active !== pane && this.activate(pane), { capture: true });
    root.addEventListener('dblclick', () => this.toggleSingle(pane));
    root.addEventListener('dragover', (event) => {
      if (event.dataTransfer?.types.includes(DRAG_TYPE)) event.preventDefault();
      root.classList.add('drop');
    });
    root.addEventListener('dragleave', () => root.classList.remove('drop'));
    root.addEventListener('drop', (event) => {
      root.classList.remove('drop');
      const uid = event.dataTransfer?.getData(DRAG_TYPE);
      if (uid) this.hooks.dropped(uid, pane);
    });
  }

  private paint(): void {
    this.root.dataset['layout'] = String(this.layout_);
    this.panes.forEach((pane, i) => {
      pane.root.hidden = i >= this.layout_;
      pane.root.style.order = String(i);
      pane.root.classList.toggle('active', i === this.active_ && this.layout_ > 1);
    });
  }

  private resize(): void {
    if (this.panes.length) this.engine.resize(true, true);
  }
}
