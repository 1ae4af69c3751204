/** The writing on the image: who, what, where, how large, which way. */
import type { Types } from '@cornerstonejs/core';
import type { Context } from '../context';
import type { LoadedSeries } from '../data/dicomweb';
import type { Frame } from '../data/frames';
import { edgeLetters } from '../geometry/orientation';
import { ruler } from '../geometry/ruler';
import { length, subtract, vec3, type Vec3 } from '../geometry/vector';
import { formatAge, formatDate, formatNumber, t } from '../i18n';
import { h, show } from '../ui/dom';

export interface OverlayState {
  frame: Frame;
  index: number;
  count: number;
  window: { width: number; level: number } | null;
  canvasToWorld: (point: Types.Point2) => Types.Point3;
  worldToCanvas: (point: Types.Point3) => Types.Point2;
  width: number;
  height: number;
}

let context: Context | null = null;

/** The patient's pseudonym and the study are the same on every pane. */
export function overlayContext(value: Context): void {
  context = value;
}

const line = (testid?: string) => h('div', { class: 'line', testid });

export class Overlay {
  private readonly patient = line('overlay-patient');
  private readonly study = line();
  private readonly seriesLine = line('overlay-series');
  private readonly slice = line('overlay-slice');
  private readonly quality_ = h('div', { class: 'line quality', testid: 'overlay-quality', hidden: true });
  private readonly windowLine = line('overlay-window');
  private readonly zoomLine = line('overlay-zoom');
  private readonly place = line('overlay-location');
  private readonly lossy = h('div', { class: 'line lossy', hidden: true });
  private readonly letters = {
    left: h('div', { class: 'letter letter-left', testid: 'letter-left' }),
    right: h('div', { class: 'letter letter-right', testid: 'letter-right' }),
    top: h('div', { class: 'letter letter-top', testid: 'letter-top' }),
    bottom: h('div', { class: 'letter letter-bottom', testid: 'letter-bottom' }),
  };
  private readonly bar = h('div', { class: 'ruler-bar' });
  private readonly barText = h('div', { class: 'ruler-text' });
  private readonly ruler = h('div', { class: 'ruler', testid: 'ruler' }, this.bar, this.barText);
  private readonly progress = h('div', { class: 'pane-progress', testid: 'pane-loading', hidden: true });
  private readonly error = h('div', { class: 'pane-error', testid: 'pane-error', hidden: true });

  readonly root = h(
    'div',
    { class: 'overlay' },
    this.progress,
    h('div', { class: 'corner top-left' }, this.patient, this.study),
    h('div', { class: 'corner top-right' }, this.seriesLine, this.slice, this.quality_),
    h('div', { class: 'corner bottom-left' }, this.windowLine, this.zoomLine),
    h('div', { class: 'corner bottom-right' }, this.lossy, this.place),
    this.letters.left,
    this.letters.right,
    this.letters.top,
    this.letters.bottom,
    this.ruler,
    this.error,
  );

  series(loaded: LoadedSeries): void {
    const { series } = loaded;
    for (const element of [this.slice, this.windowLine, this.zoomLine, this.place, ...Object.values(this.letters)]) element.textContent = '';
    for (const element of [this.error, this.ruler, this.lossy, this.quality_]) show(element, false);
    if (context) {
      const { patient, study } = context;
      const sex = t().overlay.sex[patient.sex as 'M' | 'F' | 'O'] ?? patient.sex;
      this.patient.textContent = [patient.name || patient.id, sex, formatAge(patient.age)].filter(Boolean).join('  ');
      this.study.textContent = [study.description, formatDate(study.date)].filter(Boolean).join('  ');
    }
    this.seriesLine.textContent = [series.number ?? '', series.modality, series.description].filter((part) => part !== '').join('  ');
  }

  update(state: OverlayState): void {
    const { frame, window } = state;
    const words = t().overlay;
    this.slice.textContent = `${state.index + 1} / ${state.count}`;
    this.windowLine.textContent = window
      ? `${words.windowShort} ${formatNumber(window.width, 0)}  ${words.levelShort} ${formatNumber(window.level, 0)}`
      : '';
    const place = [
      frame.sliceThickness ? `${words.thickness} ${formatNumber(frame.sliceThickness, 1)} ${words.mm}` : '',
      sliceHeight(frame) !== null ? `${words.location} ${formatNumber(sliceHeight(frame)!, 1)} ${words.mm}` : '',
    ];
    this.place.textContent = place.filter(Boolean).join('  ');
    show(this.lossy, frame.lossy !== null);
    if (frame.lossy !== null) this.lossy.textContent = frame.lossy > 0 ? `${words.lossy} ${formatNumber(frame.lossy, 0)}:1` : words.lossy;
    this.direction(state);
    this.scale(state);
  }

  quality(exact: boolean): void {
    show(this.error, false);
    show(this.quality_, !exact);
    this.quality_.textContent = t().overlay.preview;
  }

  busy(on: boolean): void {
    show(this.progress, on);
  }

  failed(text: string): void {
    this.error.textContent = text;
    show(this.error, true);
  }

  private direction(state: OverlayState): void {
    const { frame, width, height } = state;
    const known = frame.orientation !== null || frame.patientOrientation !== null;
    const at = (x: number, y: number): Vec3 => vec3(state.canvasToWorld([x, y]));
    const right = subtract(at(width, height / 2), at(0, height / 2));
    const bottom = subtract(at(width / 2, height), at(width / 2, 0));
    const letters = known
      ? edgeLetters(right, bottom, frame.orientation ? null : frame.patientOrientation)
      : { left: '', right: '', top: '', bottom: '' };
    for (const side of ['left', 'right', 'top', 'bottom'] as const) this.letters[side].textContent = letters[side];
  }

  private scale(state: OverlayState): void {
    const { frame } = state;
    const step = length(subtract(vec3(state.canvasToWorld([100, 0])), vec3(state.canvasToWorld([0, 0]))));
    // 100 %: one image pixel takes one pixel of the page.
    const zoom = (100 * (frame.spacing?.column ?? 1)) / step;
    this.zoomLine.textContent = `${t().overlay.zoom} ${formatNumber(zoom * 100, 0)} %`;
    // World units per screen pixel; where the image has no spacing of its own one world unit is one image pixel.
    const millimetresPerUnit = frame.spacing ? 1 : frame.scale ? frame.scale.column : null;
    const bar = millimetresPerUnit ? ruler(100 / (step * millimetresPerUnit), Math.min(180, state.width * 0.28)) : null;
    show(this.ruler, bar !== null);
    if (!bar) return;
    const words = t().overlay;
    this.bar.style.width = `${bar.pixels.toFixed(1)}px`;
    this.bar.style.setProperty('--divisions', String(bar.divisions));
    const text = bar.millimetres >= 10 ? `${formatNumber(bar.millimetres / 10, 0)} ${words.cm}` : `${bar.millimetres} ${words.mm}`;
    this.barText.textContent = frame.scale?.source === 'detector' ? `${text} · ${t().atDetector}` : text;
  }
}

/** Slice Location, or for slices across the body the height of the image's position. */
function sliceHeight(frame: Frame): number | null {
  if (frame.sliceLocation !== null) return frame.sliceLocation;
  return frame.position && frame.orientation ? frame.position[2] : null;
}
