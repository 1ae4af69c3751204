/** The middle of the screen: panes, three planes, cine; what is shown where. */
import { presetsFor, windowToRange } from './viewport/presets';
import type { LoadedSeries } from './data/dicomweb';
import type { Library } from './data/library';
import type { Series } from './data/series';
import { whyNotVolume } from './geometry/volume';
import { t } from './i18n';
import type { Imaging } from './image/setup';
import type { Toolset } from './tools/toolset';
import { toast } from './ui/dialog';
import { h } from './ui/dom';
import { Cine, recordedRate } from './viewport/cine';
import { Grid, type Layout } from './viewport/grid';
import { Mpr } from './viewport/mpr';
import type { Pane } from './viewport/pane';

export interface StageHooks {
  changed: () => void;
  troubled: (error: unknown) => void;
  /** A series turned out to hold nothing to look at. */
  empty: (series: Series) => void;
}

export class Stage {
  readonly grid: Grid;
  readonly mpr: Mpr;
  readonly cine: Cine;
  readonly root: HTMLElement;
  private cineSeries: string | null = null;

  constructor(
    private readonly imaging: Imaging,
    tools: Toolset,
    private readonly library: Library,
    private readonly hooks: StageHooks,
  ) {
    this.cine = new Cine(hooks.changed);
    this.grid = new Grid(imaging.engine, imaging.backend, tools, {
      changed: hooks.changed,
      dropped: (uid, pane) => {
        this.grid.activate(pane);
        const series = library.find(uid);
        if (series) void this.open(series, pane);
      },
    });
    this.mpr = new Mpr(imaging.engine, tools);
    this.root = h('div', { class: 'centre' }, this.grid.root, this.mpr.root);
  }

  get pane(): Pane | null {
    return this.grid.active;
  }

  get modality(): string {
    return this.pane?.frame?.modality ?? '';
  }

  async open(series: Series, pane: Pane | null = this.pane, index?: number): Promise<void> {
    if (!series.images) return;
    this.cine.stop();
    this.closeMpr();
    try {
      const loaded = await this.library.load(series);
      if (loaded.frames.length) await pane?.show(loaded, index);
      else this.hooks.empty(series);
    } catch (error) {
      this.hooks.troubled(error);
    }
    this.hooks.changed();
  }

  /** Show one image, where its series already is if it is on screen. */
  async show(series: Series, index: number): Promise<void> {
    this.closeMpr();
    const holding = this.grid.holding(series.uid);
    if (!holding) return this.open(series, this.pane, index);
    this.grid.activate(holding);
    await holding.goTo(index);
    this.hooks.changed();
  }

  neighbour(step: 1 | -1): void {
    const series = this.library.neighbour(this.pane?.loaded?.series.uid ?? null, step);
    if (series) void this.open(series);
  }

  /** New panes are filled with the series that are not shown yet. */
  setLayout(layout: Layout): void {
    this.closeMpr();
    this.grid.setLayout(layout);
    const shown = new Set(this.grid.visible.map((pane) => pane.loaded?.series.uid));
    const rest = this.library.pictures.filter((series) => !shown.has(series.uid));
    for (const pane of this.grid.visible) {
      const series = pane.loaded ? undefined : rest.shift();
      if (series) void this.fill(pane, series);
    }
  }

  preset(n: number): void {
    const preset = presetsFor(this.modality)[n - 1];
    if (!preset) return;
    if (this.mpr.open && preset.window) this.mpr.setRange(windowToRange(preset.window.width, preset.window.level));
    else this.pane?.applyPreset(preset);
  }

  reset(): void {
    if (this.mpr.open) this.mpr.reset();
    else this.pane?.reset();
  }

  /** Why the active series cannot be cut in three planes, in words; null if it can. */
  mprWhy(): string | null {
    if (this.mpr.open) return null;
    if (this.imaging.backend === 'cpu') return t().mprWhy.noWebgl;
    const why = whyNotVolume(this.pane?.frames ?? []);
    return why ? t().mprWhy[why] : null;
  }

  async toggleMpr(): Promise<void> {
    this.cine.stop();
    if (this.mpr.open) {
      this.closeMpr();
      return;
    }
    const why = this.mprWhy();
    const loaded: LoadedSeries | null = this.pane?.loaded ?? null;
    if (why || !loaded) {
      toast(why ?? t().mprWhy.noGeometry);
      return;
    }
    this.grid.root.hidden = true;
    try {
      await this.mpr.start(loaded, this.pane?.voi ?? null);
    } catch (error) {
      this.closeMpr();
      this.hooks.troubled(error);
    }
    this.hooks.changed();
  }

  /** A newly chosen series plays at the speed it was recorded at. */
  refreshCine(): void {
    const uid = this.pane?.loaded?.series.uid ?? null;
    if (uid === this.cineSeries) return;
    this.cineSeries = uid;
    this.cine.fps = recordedRate(this.pane?.frames ?? []);
  }

  note(...content: (Node | string)[]): HTMLElement {
    const note = h('div', { class: 'grid-note' });
    note.append(...content);
    this.grid.root.append(note);
    return note;
  }

  private async fill(pane: Pane, series: Series): Promise<void> {
    try {
      const loaded = await this.library.load(series);
      if (loaded.frames.length) await pane.show(loaded);
      else this.hooks.empty(series);
    } catch (error) {
      this.hooks.troubled(error);
    }
  }

  private closeMpr(): void {
    this.mpr.stop();
    this.grid.root.hidden = false;
  }
}
