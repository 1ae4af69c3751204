/**
 * The letters at the edges of an image: which way is left, right, front, back, head, foot.
 *
 * PS3.3 C.7.6.1.1.1 (Patient Orientation): L R A P H F, up to three letters, the dominant axis first.
 */
import { dot, unit, type Vec3 } from './vector';

/** Below this share of the unit vector an axis is not worth a letter (about 14 degrees of tilt). */
const SIGNIFICANT = 0.25;

const AXES: readonly (readonly [positive: string, negative: string])[] = [
  ['L', 'R'],
  ['P', 'A'],
  ['H', 'F'],
];

const OPPOSITE: Readonly<Record<string, string>> = { L: 'R', R: 'L', A: 'P', P: 'A', H: 'F', F: 'H' };

/** Letters for a direction in the patient coordinate system. */
export function directionLetters(direction: Vec3): string {
  const u = unit(direction);
  return u
    .map((component, axis) => ({ component, axis }))
    .filter(({ component }) => Math.abs(component) > SIGNIFICANT)
    .sort((a, b) => Math.abs(b.component) - Math.abs(a.component))
    .map(({ component, axis }) => AXES[axis]![component > 0 ? 0 : 1]!)
    .join('');
}

export function oppositeLetters(letters: string): string {
  return [...letters].map((letter) => OPPOSITE[letter] ?? letter).join('');
}

/**
 * Letters for a direction given in the image's own plane, for images that know only Patient Orientation
 * (0020,0020): projection radiography, mammography, ultrasound.
 *
 * @param direction  along the rows (x) and down the columns (y)
 * @param patientOrientation  the two values of (0020,0020): direction of the rows, direction of the columns
 */
export function planarLetters(direction: Vec3, patientOrientation: readonly [string, string]): string {
  const along = dot(direction, [1, 0, 0]);
  const down = dot(direction, [0, 1, 0]);
  const [row, column] = patientOrientation;
  const letters = Math.abs(along) >= Math.abs(down) ? row : column;
  const positive = Math.abs(along) >= Math.abs(down) ? along > 0 : down > 0;
  return positive ? letters : oppositeLetters(letters);
}

export interface EdgeLetters {
  left: string;
  right: string;
  top: string;
  bottom: string;
}

/** Letters at the four edges from the directions in which the screen's right and bottom point. */
export function edgeLetters(
  toRight: Vec3,
  toBottom: Vec3,
  patientOrientation: readonly [string, string] | null,
): EdgeLetters {
  const letters = (direction: Vec3) =>
    patientOrientation ? planarLetters(direction, patientOrientation) : directionLetters(direction);
  const right = letters(toRight);
  const bottom = letters(toBottom);
  return { left: oppositeLetters(right), right, top: oppositeLetters(bottom), bottom };
}
