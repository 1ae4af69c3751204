/** Whether a series of frames fills a regular block of space, so that it may be cut in other directions. */
import type { Frame } from '../data/frames';
import { cross, dot, length, subtract, unit, type Vec3 } from './vector';

export type NotVolume = 'tooFew' | 'noGeometry' | 'mixed' | 'irregular' | 'colour';

const MINIMUM_FRAMES = 5;
/** Relative deviation of one step from the mean step that is still called regular. */
const STEP_TOLERANCE = 0.05;
/** Sideways drift per step, as a share of the step (gantry tilt shears the block). */
const TILT_TOLERANCE = 0.02;

const near = (a: number, b: number, tolerance: number): boolean => Math.abs(a - b) <= tolerance;

function sameGeometry(a: Frame, b: Frame): boolean {
  return (
    a.rows === b.rows &&
    a.columns === b.columns &&
    a.frameOfReferenceUid === b.frameOfReferenceUid &&
    a.spacing !== null &&
    b.spacing !== null &&
    near(a.spacing.row, b.spacing.row, 1e-3) &&
    near(a.spacing.column, b.spacing.column, 1e-3) &&
    a.orientation !== null &&
    b.orientation !== null &&
    a.orientation.every((value, i) => near(value, b.orientation![i]!, 1e-3))
  );
}

/** `null` when the frames (in slice order) are a volume, otherwise why not. */
export function whyNotVolume(frames: readonly Frame[]): NotVolume | null {
  const first = frames[0];
  if (!first || frames.length < MINIMUM_FRAMES) return 'tooFew';
  if (first.samplesPerPixel > 1 || first.photometric === 'PALETTE COLOR') return 'colour';
  if (!first.orientation || !first.spacing || frames.some((frame) => !frame.position)) return 'noGeometry';
  if (frames.some((frame) => !sameGeometry(first, frame))) return 'mixed';
  const o = first.orientation;
  const normal = unit(cross([o[0]!, o[1]!, o[2]!], [o[3]!, o[4]!, o[5]!]));
  const steps = frames.slice(1).map((frame, i): Vec3 => subtract(frame.position!, frames[i]!.position!));
  const along = steps.map((step) => dot(step, normal));
  const mean = along.reduce((sum, value) => sum + value, 0) / along.length;
  if (Math.abs(mean) < 1e-3) return 'irregular';
  const irregular = along.some((value) => !near(value / mean, 1, STEP_TOLERANCE));
  const tilted = steps.some((step, i) => Math.sqrt(Math.max(0, length(step) ** 2 - along[i]! ** 2)) > Math.abs(mean) * TILT_TOLERANCE * 2);
  return irregular || tilted ? 'irregular' : null;
}
