/** The viewer: builds the parts, lets them know of each other, redraws what depends on the state. */
import { Layer, linesBeside } from './annotations/layer';
import { commandTable } from './commands';
import type { Context } from './context';
import { Study } from './data/dicomweb';
import { HttpError, requests, type Requests } from './data/http';
import { Library } from './data/library';
import { firstToOpen } from './data/series';
import { diagnostics } from './diagnostics';
import { t } from './i18n';
import { startImaging, type Imaging } from './image/setup';
import { Marking } from './marking';
import { Editor } from './opinion/editor';
import { Stage } from './stage';
import { Toolset } from './tools/toolset';
import { askLine, toast } from './ui/dialog';
import { h } from './ui/dom';
import { guardPage } from './ui/guards';
import { buildPanel } from './ui/panel';
import { Rail } from './ui/rail';
import type { Command } from './ui/shortcuts';
import { Toolbar } from './ui/toolbar';
import { mprColour } from './viewport/mpr';
import { overlayContext } from './viewport/overlay';
import { presetsFor } from './viewport/presets';

const LAYOUT_COMMANDS = { 1: 'layoutOne', 2: 'layoutTwo', 4: 'layoutFour' } as const;

export class App {
  private readonly requests: Requests;
  private readonly imaging: Imaging;
  private readonly tools: Toolset;
  private readonly library: Library;
  private readonly stage: Stage;
  private readonly toolbar: Toolbar;
  private readonly rail: Rail;
  private readonly layer: Layer;
  private readonly marking: Marking;
  private readonly editor: Editor | null;
  private readonly commands: Record<Command, () => void>;
  private panelOpen: boolean;
  private pointer = { x: 0, y: 0 };
  private planned = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly context: Context,
  ) {
    overlayContext(context);
    const changed = () => this.update();
    const troubled = (error: unknown) => this.troubled(error);
    this.requests = requests(context.api, context.csrf, () => toast(t().sessionEnded, { label: t().signIn, run: () => void window.open('/login', '_blank', 'noopener') }, 60_000));
    const study = new Study(new URL(context.dicomweb, window.location.href).href.replace(/\/$/, ''), context.studyUid);
    this.imaging = startImaging();
    diagnostics.backend(this.imaging.backend);
    this.layer = new Layer(context, this.requests, this.imaging.backend, changed);
    this.tools = new Toolset(context.canAnnotate, {
      lines: (tool, data, target) => linesBeside(this.layer, tool, data, target),
      askText: (present, done) => askLine(this.pointer, t().arrowText, present, done),
      mprReference: { colour: mprColour },
    });
    this.library = new Library(study, (loaded) => {
      this.rail.frames(loaded.series, loaded.frames.length);
      this.layer.seriesLoaded(loaded);
    });
    this.stage = new Stage(this.imaging, this.tools, this.library, { changed, troubled, empty: (series) => this.rail.notImages(series) });
    this.rail = new Rail((series) => study.thumbnailUrl(series), (series) => void this.stage.open(series));
    this.editor = context.consultationId
      ? new Editor(context, this.requests, { beforeSign: () => this.layer.queue.flush(), signed: () => this.signed(), changed })
      : null;
    this.marking = new Marking(context, this.layer, this.library, {
      show: (series, index) => this.stage.show(series, index),
      insert: this.editor && context.canSign ? (text) => this.editor?.insert(text) : null,
    });
    this.toolbar = new Toolbar(
      context,
      (command) => this.run(command),
      (n) => this.preset(n),
      (fps) => {
        this.stage.cine.fps = fps;
        this.update();
      },
    );
    this.commands = commandTable(this.stage, this.tools, this.marking, {
      closeMenu: () => this.toolbar.closeMenu(),
      fullScreen: () => void (document.fullscreenElement ? document.exitFullscreen() : this.root.requestFullscreen?.()),
      togglePanel: () => this.togglePanel(),
      toggleRail: () => this.root.classList.toggle('rail-closed'),
    });
    this.panelOpen = this.editor !== null && window.innerWidth >= 900;
    this.build();
  }

  async start(): Promise<void> {
    this.stage.grid.setLayout(1);
    void this.editor?.start();
    await this.openStudy();
    await this.layer.load().catch((error: unknown) => this.troubled(error));
    if (this.imaging.backend === 'cpu') toast(t().cpuMode);
  }

  private async openStudy(): Promise<void> {
    try {
      const series = await this.library.list();
      this.rail.show(series);
      const first = firstToOpen(series);
      if (first) await this.stage.open(first);
      else this.stage.note(t().noImages);
    } catch (error) {
      this.troubled(error);
      const retry = h('button', { class: 'primary', type: 'button', text: t().retry, testid: 'retry' });
      const note = this.stage.note(h('p', { text: t().loadFailed }), retry);
      retry.addEventListener('click', () => {
        note.remove();
        void this.openStudy();
      });
    }
  }

  private build(): void {
    const body = h('div', { class: 'body' }, this.rail.root, this.stage.root);
    if (this.editor) body.append(buildPanel(this.context, this.requests, this.marking.list.root, this.editor.root));
    this.root.classList.add('consilium-viewer');
    this.root.classList.toggle('read-only', this.editor === null);
    this.root.classList.toggle('panel-closed', !this.panelOpen);
    this.root.replaceChildren(this.toolbar.root, body);
    // An arrow's text is asked for where the arrow ends.
    window.addEventListener('pointerup', (event) => (this.pointer = { x: event.clientX, y: event.clientY }), { capture: true });
    guardPage({
      run: (command) => this.run(command),
      preset: (n) => this.preset(n),
      online: () => {
        this.editor?.draft.online();
        void this.layer.queue.flush();
      },
      unsaved: () => this.unsaved,
      lastChance: () => void this.editor?.draft.flush(true),
    });
  }

  private get unsaved(): number {
    return this.layer.queue.unsaved + (this.editor?.draft.unsaved ? 1 : 0);
  }

  private run(command: Command): void {
    this.commands[command]();
    this.update();
  }

  private preset(n: number): void {
    this.stage.preset(n);
    this.update();
  }

  private togglePanel(): void {
    if (!this.editor) return;
    this.panelOpen = !this.panelOpen;
    this.root.classList.toggle('panel-closed', !this.panelOpen);
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
    const { stage } = this;
    const shown = stage.grid.visible.map((pane) => pane.loaded?.series.uid ?? '');
    stage.refreshCine();
    this.rail.mark(new Set(shown), stage.pane?.loaded?.series.uid ?? null);
    this.toolbar.update({
      tool: this.tools.chosen,
      layout: LAYOUT_COMMANDS[stage.grid.layout],
      mpr: stage.mpr.open,
      mprWhy: stage.mprWhy(),
      cine: { possible: !stage.mpr.open && stage.cine.suits(stage.pane), playing: stage.cine.playing, fps: stage.cine.fps },
      marking: this.context.canAnnotate,
      anyMarks: this.layer.all.length > 0,
      marksVisible: this.marking.visible,
      panelOpen: this.panelOpen,
      presets: presetsFor(stage.modality),
    });
    this.marking.refresh();
    diagnostics.unsaved(this.unsaved);
  }

  private troubled(error: unknown): void {
    const ended = error instanceof HttpError && error.status === 401;
    const detail = error instanceof Error && error.message ? `: ${error.message}` : '';
    toast(ended ? t().sessionEnded : `${t().loadFailed}${detail}`);
  }
}
