/** Three planes through one volume, with crosshairs that keep them together. */
import { cache, Enums, setVolumesForViewports, volumeLoader, type RenderingEngine, type StreamingImageVolume, type Types, type VolumeViewport } from '@cornerstonejs/core';
import type { LoadedSeries } from '../data/dicomweb';
import { edgeLetters } from '../geometry/orientation';
import { cross, unit, vec3 } from '../geometry/vector';
import { t } from '../i18n';
import type { Toolset } from '../tools/toolset';
import { h, show } from '../ui/dom';
import { rangeToWindow } from './presets';

const PLANES = ['axial', 'sagittal', 'coronal'] as const;
type PlaneName = (typeof PLANES)[number];

const COLOURS: Readonly<Record<PlaneName, string>> = {
  axial: 'rgb(240, 112, 112)',
  sagittal: 'rgb(240, 206, 92)',
  coronal: 'rgb(104, 206, 146)',
};

export const mprColour = (viewportId: string): string => COLOURS[viewportId.replace('mpr-', '') as PlaneName] ?? 'rgb(200, 200, 200)';

class MprPane {
  readonly element = h('div', { class: 'canvas-host' });
  readonly viewportId: string;
  private readonly letters = ['left', 'right', 'top', 'bottom'].map((side) => h('div', { class: `letter letter-${side}` }));
  private readonly window = h('div', { class: 'line' });
  readonly root: HTMLElement;

  constructor(readonly plane: PlaneName) {
    this.viewportId = `mpr-${plane}`;
    const title = h('div', { class: 'line plane-name', text: t().plane[plane] });
    title.style.color = COLOURS[plane];
    this.root = h(
      'div',
      { class: `pane mpr-${plane}`, testid: `mpr-${plane}` },
      this.element,
      h('div', { class: 'overlay' }, h('div', { class: 'corner top-left' }, title), h('div', { class: 'corner bottom-left' }, this.window), ...this.letters),
    );
    this.element.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  refresh(viewport: VolumeViewport): void {
    const { viewUp, viewPlaneNormal } = viewport.getCamera() ?? {};
    if (!viewUp || !viewPlaneNormal) return;
    const up = vec3(viewUp);
    const right = unit(cross(up, vec3(viewPlaneNormal)));
    const letters = edgeLetters(right, [-up[0], -up[1], -up[2]], null);
    this.letters.forEach((element, i) => {
      element.textContent = [letters.left, letters.right, letters.top, letters.bottom][i]!;
    });
    const range = viewport.getProperties()?.voiRange;
    if (range) {
      const { width, level } = rangeToWindow(range);
      this.window.textContent = `${t().overlay.windowShort} ${Math.round(width)}  ${t().overlay.levelShort} ${Math.round(level)}`;
    }
  }
}

export class Mpr {
  readonly root = h('main', { class: 'grid mpr', testid: 'mpr', hidden: true });
  private readonly progress = h('div', { class: 'mpr-progress', hidden: true });
  private panes: MprPane[] = [];
  private seriesUid: string | null = null;

  constructor(
    private readonly engine: RenderingEngine,
    private readonly tools: Toolset,
  ) {
    this.root.addEventListener('wheel', (event) => event.ctrlKey && event.preventDefault(), { passive: false });
  }

  get open(): boolean {
    return this.seriesUid !== null;
  }

  async start(loaded: LoadedSeries, range: Types.VOIRange | null): Promise<void> {
    this.seriesUid = loaded.series.uid;
    this.panes = PLANES.map((plane) => new MprPane(plane));
    this.root.replaceChildren(...this.panes.map((pane) => pane.root), this.progress);
    show(this.root, true);
    const orientations = { axial: Enums.OrientationAxis.AXIAL, sagittal: Enums.OrientationAxis.SAGITTAL, coronal: Enums.OrientationAxis.CORONAL };
    for (const pane of this.panes) {
      this.engine.enableElement({
        viewportId: pane.viewportId,
        type: Enums.ViewportType.ORTHOGRAPHIC,
        element: pane.element,
        defaultOptions: { orientation: orientations[pane.plane], background: [0, 0, 0] },
      });
      const refresh = () => pane.refresh(this.viewport(pane));
      pane.element.addEventListener(Enums.Events.CAMERA_MODIFIED, refresh);
      pane.element.addEventListener(Enums.Events.VOI_MODIFIED, (event) => {
        refresh();
        this.shareWindow((event as CustomEvent<{ range?: Types.VOIRange }>).detail.range, pane);
      });
    }
    const ids = this.panes.map((pane) => pane.viewportId);
    const volumeId = `cornerstoneStreamingImageVolume:${loaded.series.uid}`;
    const imageIds = loaded.frames.map((frame) => frame.imageId);
    const volume = (await volumeLoader.createAndCacheVolume(volumeId, { imageIds })) as StreamingImageVolume;
    const arrived = () => {
      const count = imageIds.filter((imageId) => cache.isLoaded(imageId)).length;
      this.progress.style.setProperty('--share', String(count / imageIds.length));
      show(this.progress, count < imageIds.length);
    };
    volume.load(arrived);
    arrived();
    await setVolumesForViewports(this.engine, [{ volumeId }], ids);
    if (this.seriesUid !== loaded.series.uid) return;
    for (const pane of this.panes) {
      const viewport = this.viewport(pane);
      if (range) viewport.setProperties({ voiRange: range });
      pane.refresh(viewport);
    }
    this.tools.startMpr(ids, this.engine.id);
    this.engine.renderViewports(ids);
  }

  stop(): void {
    if (!this.seriesUid) return;
    this.seriesUid = null;
    this.tools.stopMpr();
    for (const pane of this.panes) this.engine.disableElement(pane.viewportId);
    this.panes = [];
    this.root.replaceChildren();
    show(this.root, false);
  }

  setRange(range: Types.VOIRange): void {
    for (const pane of this.panes) {
      const viewport = this.viewport(pane);
      viewport.setProperties({ voiRange: range });
      pane.refresh(viewport);
      viewport.render();
    }
  }

  reset(): void {
    for (const pane of this.panes) {
      const viewport = this.viewport(pane);
      viewport.resetCamera();
      viewport.render();
    }
  }

  private viewport(pane: MprPane): VolumeViewport {
    return this.engine.getViewport(pane.viewportId) as VolumeViewport;
  }

  private sharing = false;

  private shareWindow(range: Types.VOIRange | undefined, from: MprPane): void {
    if (!range || this.sharing) return;
    this.sharing = true;
    for (const pane of this.panes) {
      if (pane === from) continue;
      const viewport = this.viewport(pane);
      viewport.setProperties({ voiRange: range });
      pane.refresh(viewport);
      viewport.render();
    }
    this.sharing = false;
  }
}
