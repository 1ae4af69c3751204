/** Cornerstone's statistics as measurements with UCUM units, and as words for people. */
import type { Frame } from '../data/frames';
import type { MarkTool, Measurement, Measurements } from './types';

export type Stats = Record<string, unknown>;

/** Hounsfield units; UCUM has no unit for grey values in general. */
export const HOUNSFIELD = "[hnsf'U]";
export const PIXELS = '{pixels}';
export const SQUARE_PIXELS = '{pixels}2';

const CENTIMETRE = 10;

function finite(value: unknown): number | null {
  const single = Array.isArray(value) ? value[0] : value;
  return typeof single === 'number' && Number.isFinite(single) ? single : null;
}

/**
 * "mm", "cm US Region", "px" → value in mm, or pixels.
 *
 * Cornerstone says "mm" for every image it could place, spacing or not. A made-up millimetre is dangerous: without a
 * spacing of the image's own it is a pixel.
 */
function lengthOf(value: number, unit: string, known: boolean): Measurement | null {
  if (unit.startsWith('mm')) return { value, unit: known ? 'mm' : PIXELS };
  if (unit.startsWith('cm')) return { value: value * CENTIMETRE, unit: 'mm' };
  if (unit.startsWith('px')) return { value, unit: PIXELS };
  return null;
}

function areaOf(value: number, unit: string, known: boolean): Measurement | null {
  if (unit.startsWith('mm')) return { value, unit: known ? 'mm2' : SQUARE_PIXELS };
  if (unit.startsWith('cm')) return { value: value * CENTIMETRE ** 2, unit: 'mm2' };
  if (unit.startsWith('px')) return { value, unit: SQUARE_PIXELS };
  return null;
}

/** Grey values are Hounsfield units on CT unless the image says otherwise (Rescale Type, PS3.3 C.11.1.1.2). */
function greyUnit(frame: Frame): string {
  const hounsfield = frame.modality === 'CT' && (frame.rescaleUnit === '' || frame.rescaleUnit === 'HU');
  return hounsfield || frame.rescaleUnit === 'HU' ? HOUNSFIELD : '1';
}

export function measurementsOf(tool: MarkTool, stats: Stats | undefined, frame: Frame): Measurements {
  if (!stats) return {};
  const result: Measurements = {};
  const length = finite(stats['length']);
  if (tool === 'length' && length !== null) {
    const measured = lengthOf(length, String(stats['unit'] ?? ''), frame.spacing !== null);
    if (measured) result.length = measured;
  }
  const angle = finite(stats['angle']);
  if (tool === 'angle' && angle !== null) result.angle = { value: angle, unit: 'deg' };
  if (tool !== 'ellipse' && tool !== 'rectangle') return result;
  const area = finite(stats['area']);
  const measured = area === null ? null : areaOf(area, String(stats['areaUnit'] ?? ''), frame.spacing !== null);
  if (measured) result.area = measured;
  // A colour image has three values per pixel and no meaningful mean.
  if (frame.samplesPerPixel > 1 || frame.photometric === 'PALETTE COLOR') return result;
  const unit = greyUnit(frame);
  for (const [name, key] of [['mean', 'mean'], ['std', 'stdDev'], ['min', 'min'], ['max', 'max']] as const) {
    const value = finite(stats[key]);
    if (value !== null) result[name] = { value, unit };
  }
  return result;
}

export interface Words {
  unit: { mm: string; mm2: string; deg: string; px: string; px2: string; hu: string };
  atDetector: string;
  measure: Record<string, string>;
  number: (value: number, digits: number) => string;
}

function withUnit(measurement: Measurement, words: Words): string {
  const { value, unit } = measurement;
  const grey = Number.isInteger(value) || Math.abs(value) >= 10 ? 0 : 1;
  const units: Record<string, [string, number]> = {
    mm: [words.unit.mm, 1],
    mm2: [words.unit.mm2, value < 100 ? 1 : 0],
    deg: [words.unit.deg, 1],
    [PIXELS]: [words.unit.px, 1],
    [SQUARE_PIXELS]: [words.unit.px2, 0],
    [HOUNSFIELD]: [words.unit.hu, grey],
    '1': ['', grey],
  };
  const [name, digits] = units[unit] ?? [unit, 1];
  const gap = unit === 'deg' || name === '' ? '' : ' ';
  return `${words.number(value, digits)}${gap}${name}`;
}

/** Lines to write beside a mark. The first is the one that fits a list. */
export function measurementLines(measurements: Measurements, atDetector: boolean, words: Words): string[] {
  const { length, angle, area, mean, std, min, max } = measurements;
  const suffix = atDetector ? ` (${words.atDetector})` : '';
  const lines: string[] = [];
  if (length) lines.push(withUnit(length, words) + (length.unit === 'mm' ? suffix : ''));
  if (angle) lines.push(withUnit(angle, words));
  if (area) lines.push(withUnit(area, words) + (area.unit === 'mm2' ? suffix : ''));
  if (mean) {
    const spread = std ? ` ± ${withUnit({ ...std, unit: '1' }, words)}` : '';
    lines.push(`${words.measure['mean']} ${withUnit({ ...mean, unit: '1' }, words)}${spread}${mean.unit === HOUNSFIELD ? ` ${words.unit.hu}` : ''}`);
  }
  if (min && max) lines.push(`${withUnit({ ...min, unit: '1' }, words)} … ${withUnit({ ...max, unit: '1' }, words)}`);
  return lines;
}
