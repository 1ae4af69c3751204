/** Window presets per modality, on the keys 1–9. */
import type { Messages } from '../i18n/en';

export type PresetName = keyof Messages['preset'];

export interface Preset {
  name: PresetName;
  /** Null: what the image itself asks for, or its full range. */
  window: { width: number; level: number } | null;
}

const CT: readonly Preset[] = [
  { name: 'soft', window: { width: 400, level: 40 } },
  { name: 'lung', window: { width: 1500, level: -600 } },
  { name: 'bone', window: { width: 2000, level: 400 } },
  { name: 'brain', window: { width: 80, level: 40 } },
  { name: 'mediastinum', window: { width: 350, level: 50 } },
  { name: 'stroke', window: { width: 40, level: 35 } },
  { name: 'liver', window: { width: 150, level: 90 } },
  { name: 'angio', window: { width: 600, level: 200 } },
  { name: 'default', window: null },
];

const OTHER: readonly Preset[] = [
  { name: 'default', window: null },
  { name: 'full', window: null },
];

/** The first is key 1, the second key 2, and so on. */
export function presetsFor(modality: string): readonly Preset[] {
  return modality === 'CT' ? CT : OTHER;
}

/** Lower and upper value of a window by its width and level (PS3.3 C.11.2.1.2.1, the linear function). */
export function windowToRange(width: number, level: number): { lower: number; upper: number } {
  return { lower: level - 0.5 - (width - 1) / 2, upper: level - 0.5 + (width - 1) / 2 };
}

export function rangeToWindow(range: { lower: number; upper: number }): { width: number; level: number } {
  const width = range.upper - range.lower + 1;
  return { width, level: range.lower + 0.5 + (width - 1) / 2 };
}
