/**
 * How large a pixel is, and in which plane that is true.
 *
 * Cross-sectional images: Pixel Spacing (0028,0030). Projection images may carry only Imager Pixel Spacing
 * (0018,1164), the size at the detector, which shows the patient magnified (PS3.3 10.7.1.3); a length measured with it
 * is marked. Ultrasound: the region's physical delta (0018,602C), cm (PS3.3 C.8.5.5).
 */
import { items, number, numbers, type DataSet } from './json';

export type SpacingSource = 'patient' | 'detector' | 'region';

export interface Spacing {
  /** Between rows, mm. */
  row: number;
  /** Between columns, mm. */
  column: number;
  source: SpacingSource;
}

const CENTIMETRES = 3;

function pair(dataSet: DataSet | undefined, tag: string): readonly [number, number] | null {
  const values = numbers(dataSet, tag, 2);
  if (!values) return null;
  const [row, column] = values as [number, number];
  return row > 0 && column > 0 ? [row, column] : null;
}

function detector(dataSet: DataSet): Spacing | null {
  const plain = pair(dataSet, '00181164') ?? pair(dataSet, '00182010');
  if (!plain) return null;
  const magnification = number(dataSet, '00181114');
  const factor = magnification && magnification > 0 ? magnification : 1;
  return { row: plain[0] / factor, column: plain[1] / factor, source: factor === 1 ? 'detector' : 'patient' };
}

/** Spacing that the image's coordinate system is built on; null when lengths are not known in millimetres. */
export function imageSpacing(dataSet: DataSet, functionalGroups: readonly DataSet[] = []): Spacing | null {
  for (const group of functionalGroups) {
    const measured = pair(items(group, '00289110')[0], '00280030');
    if (measured) return { row: measured[0], column: measured[1], source: 'patient' };
  }
  const measured = pair(dataSet, '00280030');
  const projected = detector(dataSet);
  if (!measured) return projected;
  // Equal to the detector's and not said to be calibrated: it IS the detector's (PS3.3 10.7.1.3).
  const uncalibrated = projected?.source === 'detector' && !dataSet['00280A02'] && !dataSet['00280A04'];
  const same = projected && Math.abs(projected.row - measured[0]) < 1e-6;
  return { row: measured[0], column: measured[1], source: uncalibrated && same ? 'detector' : 'patient' };
}

/** Spacing of the largest two-dimensional ultrasound region measured in centimetres, for the scale bar. */
export function regionSpacing(dataSet: DataSet): Spacing | null {
  let best: Spacing | null = null;
  let area = 0;
  for (const region of items(dataSet, '00186011')) {
    const dx = Math.abs(number(region, '0018602C') ?? 0);
    const dy = Math.abs(number(region, '0018602E') ?? 0);
    const units = [number(region, '00186024'), number(region, '00186026')];
    if (!(dx > 0 && dy > 0) || units.some((value) => value !== CENTIMETRES)) continue;
    const width = (number(region, '0018601C') ?? 0) - (number(region, '00186018') ?? 0);
    const height = (number(region, '0018601E') ?? 0) - (number(region, '0018601A') ?? 0);
    if (width * height > area) {
      area = width * height;
      best = { row: dy * 10, column: dx * 10, source: 'region' };
    }
  }
  return best;
}
