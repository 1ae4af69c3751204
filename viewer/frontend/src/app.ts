/** The viewer: wires series, panes, tools, marks and opinion together and carries out commands. */
import { Layer, linesBeside, type Mark } from './annotations/layer';
import { MarkList, type MarkPlace } from './annotations/list';
import type { Context } from './context';
import { Study, type LoadedSeries } from './data/dicomweb';
import { HttpError, requests } from './data/http';
import { firstToOpen, type Series } from './data/series';
import { diagnostics } from './diagnostics';
import { whyNotVolume } from './geometry/volume';
import { t } from './i18n';
import { startImaging, type Imaging } from './image/setup';
import { registerSeries } from './image/provider';
import { Editor } from './opinion/editor';
import { MARKING, Toolset, type LeftTool } from './tools/toolset';
import { askLine, toast } from './ui/dialog';
import { h } from './ui/dom';
import { openHelp } from './ui/help';
import { buildPanel } from './ui/panel';
import { Rail } from './ui/rail';
import { meaning, writing, type Command } from './ui/shortcuts';
import { Toolbar } from './ui/toolbar';
import { Cine, recordedRate } from './viewport/cine';
import { Grid, type Layout } from './viewport/grid';
import { Mpr, mprColour } from './viewport/mpr';
import { overlayContext } from './viewport/overlay';
import type { Pane } from './viewport/pane';
import { presetsFor, windowToRange } from './viewport/presets';

const LAYOUTS: Readonly<Partial<Record<Command, Layout>>> = { layoutOne: 1, layoutTwo: 2, layoutFour: 4 };
const LEFT: ReadonlySet<Command> = new Set(['window', 'scroll', 'pan', 'zoom', 'crosshairs', ...MARKING] as Command[]);

export class App {
  private readonly requests;
  private readonly study: Study;
  private readonly imaging: Imaging;
  private readonly tools: Toolset;
  private readonly grid: Grid;
  private readonly mpr: Mpr;
  private readonly cine = new Cine(() => this.update());
  private readonly toolbar: Toolbar;
  private readonly rail: Rail;
  private readonly layer: Layer;
  private readonly marks: MarkList;
  private readonly editor: Editor | null;
  private series: Series[] = [];
  private readonly loaded = new Map<string, LoadedSeries>();
  private panelOpen: boolean;
  private marksVisible = true;
  private pointer = { x: 0, y: 0 };
  private planned = 0;
  private cineSeries: string | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly context: Context,
  ) {
    overlayContext(context);
    this.requests = requests(context.api, context.csrf);
    this.study = new Study(new URL(context.dicomweb, window.location.href).href.replace(/\/$/, ''), context.studyUid);
    this.imaging = startImaging();
    diagnostics.backend(this.imaging.backend);
    this.layer = new Layer(context, this.requests, this.imaging.backend, () => this.update());
    this.tools = new Toolset(context.canAnnotate, {
      lines: (tool, data, target) => linesBeside(this.layer, tool, data, target),
      askText: (present, done) => askLine(this.pointer, t().arrowText, present, done),
      mprReference: { colour: mprColour },
    });
    this.grid = new Grid(this.imaging.engine, this.imaging.backend, this.tools, {
      changed: () => this.update(),
      dropped: (uid, pane) => void this.openUid(uid, pane),
    });
    this.mpr = new Mpr(this.imaging.engine, this.tools);
    this.rail = new Rail((series) => this.study.thumbnailUrl(series), (series) => void this.open(series));
    this.toolbar = new Toolbar(context, (command) => this.run(command), (n) => this.preset(n), (fps) => this.setSpeed(fps));
    this.editor = context.consultationId
      ? new Editor(context, this.requests, { beforeSign: () => this.layer.queue.flush(), signed: () => this.signed(), changed: () => this.update() })
      : null;
    this.marks = new MarkList({
      place: (mark) => this.place(mark),
      go: (mark) => void this.goToMark(mark),
      remove: (mark) => this.removeMark(mark),
      insert: this.editor && context.canSign ? (text) => this.editor?.insert(text) : null,
    });
    this.panelOpen = this.editor !== null && window.innerWidth >= 900;
    this.build();
    this.listen();
  }

  async start(): Promise<void> {
    this.grid.setLayout(1);
    void this.editor?.start();
    try {
      this.series = await this.study.series();
    } catch (error) {
      this.fatal(error);
      return;
    }
    this.rail.show(this.series);
    const first = firstToOpen(this.series);
    if (first) await this.open(first);
    else this.grid.root.append(h('p', { class: 'grid-note', text: t().noImages }));
    await this.layer.load().catch((error: unknown) => this.troubled(error));
    if (this.imaging.backend === 'cpu') toast(t().cpuMode);
  }

  private build(): void {
    const body = h('div', { class: 'body' }, this.rail.root, h('div', { class: 'centre' }, this.grid.root, this.mpr.root));
    if (this.editor) body.append(buildPanel(this.context, this.requests, this.marks.root, this.editor.root));
    this.root.classList.add('consilium-viewer');
    this.root.classList.toggle('read-only', this.editor === null);
    this.root.replaceChildren(this.toolbar.root, body);
    this.layoutPanels();
  }

  private listen(): void {
    window.addEventListener('keydown', (event) => {
      if (writing(event.target) || document.querySelector('dialog[open]')) return;
      const meant = meaning(event);
      if (meant === null) return;
      event.preventDefault();
      if (typeof meant === 'number') this.preset(meant);
      else this.run(meant);
    });
    window.addEventListener('pointerup', (event) => (this.pointer = { x: event.clientX, y: event.clientY }), { capture: true });
    window.addEventListener('online', () => {
      this.editor?.draft.online();
      void this.layer.queue.flush();
    });
    window.addEventListener('beforeunload', (event) => {
      if (!this.unsaved) return;
      void this.editor?.draft.flush(true);
      event.preventDefault();
    });
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden') void this.editor?.draft.flush(true);
    });
  }

  private get unsaved(): number {
    return this.layer.queue.unsaved + (this.editor?.draft.unsaved ? 1 : 0);
  }

  private async open(series: Series, pane: Pane | null = this.grid.active, index?: number): Promise<void> {
    if (!series.images) return;
    this.cine.stop();
    if (this.mpr.open) this.mpr.stop();
    try {
      const loaded = await this.load(series);
      if (!loaded.frames.length) {
        this.rail.notImages(series);
        return;
      }
      await this.grid.show(loaded, pane, index);
    } catch (error) {
      this.troubled(error);
    }
    this.update();
  }

  private async openUid(uid: string, pane: Pane): Promise<void> {
    this.grid.activate(pane);
    const series = this.series.find((entry) => entry.uid === uid);
    if (series) await this.open(series, pane);
  }

  private async load(series: Series): Promise<LoadedSeries> {
    const loaded = await this.study.load(series);
    if (!this.loaded.has(series.uid)) {
      this.loaded.set(series.uid, loaded);
      registerSeries(loaded);
      this.rail.frames(series, loaded.frames.length);
      this.layer.seriesLoaded(loaded);
    }
    return loaded;
  }

  private run(command: Command): void {
    const pane = this.grid.active;
    const layout = LAYOUTS[command];
    if (LEFT.has(command)) this.choose(command as LeftTool);
    else if (layout) this.setLayout(layout);
    else if (command === 'escape') this.escape();
    else if (command === 'next') void pane?.step(1);
    else if (command === 'previous') void pane?.step(-1);
    else if (command === 'jumpForward') void pane?.step(10);
    else if (command === 'jumpBack') void pane?.step(-10);
    else if (command === 'first') void pane?.goTo(0);
    else if (command === 'last') void pane?.goTo(pane.frames.length - 1);
    else if (command === 'nextSeries') this.neighbour(1);
    else if (command === 'previousSeries') this.neighbour(-1);
    else if (command === 'invert') pane?.invert();
    else if (command === 'rotate') pane?.rotate();
    else if (command === 'flipHorizontal') pane?.flip(true);
    else if (command === 'flipVertical') pane?.flip(false);
    else if (command === 'reset') (this.mpr.open ? this.mpr : pane)?.reset();
    else if (command === 'cine') this.cine.toggle(pane);
    else if (command === 'mpr') void this.toggleMpr();
    else if (command === 'help') openHelp(pane?.frame?.modality ?? '');
    else if (command === 'fullScreen') this.fullScreen();
    else if (command === 'panel') this.togglePanel();
    else if (command === 'rail') this.root.classList.toggle('rail-closed');
    else if (command === 'hideMarks') this.marksVisible = this.layer.toggleVisible();
    else if (command === 'remove') this.removeSelected();
    this.update();
  }

  private choose(tool: LeftTool): void {
    if (this.mpr.open && MARKING.includes(tool)) toast(t().mprMarks);
    else this.tools.choose(tool);
  }

  private escape(): void {
    if (this.toolbar.closeMenu()) return;
    if (!this.tools.cancel()) this.tools.choose(this.mpr.open ? 'crosshairs' : 'window');
    this.cine.stop();
  }

  private setLayout(layout: Layout): void {
    this.mpr.stop();
    this.grid.root.hidden = false;
    this.grid.setLayout(layout);
    // Fill the new panes with the series that are not shown yet.
    const shown = new Set(this.grid.visible.map((pane) => pane.loaded?.series.uid));
    const rest = this.series.filter((series) => series.images && !shown.has(series.uid));
    for (const pane of this.grid.visible) {
      const series = pane.loaded ? null : rest.shift();
      if (series) void this.load(series).then((loaded) => (loaded.frames.length ? pane.show(loaded) : undefined)).catch((error: unknown) => this.troubled(error));
    }
  }

  private neighbour(step: 1 | -1): void {
    const pictures = this.series.filter((series) => series.images);
    const at = pictures.findIndex((series) => series.uid === this.grid.active?.loaded?.series.uid);
    const series = pictures[at + step];
    if (series) void this.open(series);
  }

  private preset(n: number): void {
    const pane = this.grid.active;
    const preset = presetsFor(pane?.frame?.modality ?? '')[n - 1];
    if (!preset || !pane) return;
    if (this.mpr.open && preset.window) this.mpr.setRange(windowToRange(preset.window.width, preset.window.level));
    else pane.applyPreset(preset);
    this.update();
  }

  private mprWhy(): string | null {
    if (this.imaging.backend === 'cpu') return t().mprWhy.noWebgl;
    const frames = this.grid.active?.frames ?? [];
    const why = whyNotVolume(frames);
    return why ? t().mprWhy[why] : null;
  }

  private async toggleMpr(): Promise<void> {
    this.cine.stop();
    if (this.mpr.open) {
      this.mpr.stop();
      this.grid.root.hidden = false;
      this.update();
      return;
    }
    const why = this.mprWhy();
    const pane = this.grid.active;
    if (why || !pane?.loaded) {
      toast(why ?? t().mprWhy.noGeometry);
      return;
    }
    this.grid.root.hidden = true;
    try {
      await this.mpr.start(pane.loaded, pane.voi);
    } catch (error) {
      this.mpr.stop();
      this.grid.root.hidden = false;
      this.troubled(error);
    }
    this.update();
  }

  private setSpeed(fps: number): void {
    this.cine.fps = fps;
    this.update();
  }

  private fullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.root.requestFullscreen?.();
  }

  private togglePanel(): void {
    if (!this.editor) return;
    this.panelOpen = !this.panelOpen;
    this.layoutPanels();
  }

  private layoutPanels(): void {
    this.root.classList.toggle('panel-closed', !this.panelOpen);
  }

  private place(mark: Mark): MarkPlace {
    const series = this.series.find((entry) => entry.uid === mark.series_instance_uid);
    const frames = this.loaded.get(mark.series_instance_uid)?.frames ?? [];
    const at = frames.findIndex((frame) => frame.sopInstanceUid === mark.sop_instance_uid && frame.frame === mark.frame);
    return {
      series: String(series?.number ?? series?.modality ?? '–'),
      slice: at < 0 ? null : at + 1,
      detector: frames[at]?.spacing?.source === 'detector',
    };
  }

  private async goToMark(mark: Mark): Promise<void> {
    const series = this.series.find((entry) => entry.uid === mark.series_instance_uid);
    if (!series) return;
    const loaded = await this.load(series);
    const index = loaded.frames.findIndex((frame) => frame.sopInstanceUid === mark.sop_instance_uid && frame.frame === mark.frame);
    if (index < 0) return;
    if (this.mpr.open) await this.toggleMpr();
    const holding = this.grid.holding(series.uid);
    if (holding) {
      this.grid.activate(holding);
      await holding.goTo(index);
    } else await this.open(series, this.grid.active, index);
    this.layer.select(mark.uid);
    this.update();
  }

  private removeMark(mark: Mark): void {
    this.layer.remove(mark.uid);
    toast(t().markRemoved, { label: t().undo, run: () => this.layer.putBack(mark) });
  }

  private removeSelected(): void {
    const selected = this.layer.selected;
    const mark = this.layer.all.find((entry) => entry.uid === selected && entry.mine);
    if (mark && this.context.canAnnotate) this.removeMark(mark);
  }

  private signed(): void {
    this.context.canAnnotate = false;
    this.context.canSign = false;
    this.context.state = 'signed';
    this.layer.lock();
    this.tools.freeze();
    const chip = this.root.querySelector('[data-testid="state"]');
    if (chip) chip.textContent = t().state['signed']!;
    this.root.querySelector('[data-testid="due"]')?.remove();
    this.update();
  }

  /** Redraw what depends on the state, once per frame however often it changed. */
  private update(): void {
    if (this.planned) return;
    this.planned = requestAnimationFrame(() => {
      this.planned = 0;
      this.refresh();
    });
  }

  private refresh(): void {
    const pane = this.grid.active;
    const uid = pane?.loaded?.series.uid ?? null;
    if (uid !== this.cineSeries) {
      this.cineSeries = uid;
      this.cine.fps = recordedRate(pane?.frames ?? []);
    }
    this.rail.mark(new Set(this.grid.visible.map((entry) => entry.loaded?.series.uid ?? '')), uid);
    const layout = (Object.keys(LAYOUTS) as Command[]).find((command) => LAYOUTS[command] === this.grid.layout)!;
    this.toolbar.update({
      tool: this.tools.chosen,
      layout,
      mpr: this.mpr.open,
      mprWhy: this.mpr.open ? null : this.mprWhy(),
      cine: { possible: !this.mpr.open && this.cine.suits(pane), playing: this.cine.playing, fps: this.cine.fps },
      marking: this.context.canAnnotate,
      anyMarks: this.layer.all.length > 0,
      marksVisible: this.marksVisible,
      panelOpen: this.panelOpen,
      presets: presetsFor(pane?.frame?.modality ?? ''),
    });
    this.marks.show(this.layer.all, this.layer.selected, this.context.canAnnotate);
    diagnostics.unsaved(this.unsaved);
  }

  private troubled(error: unknown): void {
    const ended = error instanceof HttpError && error.status === 401;
    toast(ended ? t().sessionEnded : `${t().loadFailed}${error instanceof Error && error.message ? `: ${error.message}` : ''}`);
  }

  private fatal(error: unknown): void {
    this.troubled(error);
    const retry = h('button', { class: 'primary', type: 'button', text: t().retry });
    const note = h('div', { class: 'grid-note' }, h('p', { text: t().loadFailed }), retry);
    retry.addEventListener('click', () => {
      note.remove();
      void this.start();
    });
    this.grid.root.append(note);
  }
}
