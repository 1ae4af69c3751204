/** Where an image lies, and where a series opens. */
import type { LoadedSeries } from '../data/dicomweb';
import type { Frame } from '../data/frames';
import type { Plane } from '../geometry/plane';

/** The image plane a mark is drawn in; made-up axes and unit pixels where the image says nothing. */
export function planeOf(frame: Frame): Plane {
  const o = frame.orientation ?? [1, 0, 0, 0, 1, 0];
  return {
    position: frame.position ?? [0, 0, 0],
    row: [o[0]!, o[1]!, o[2]!],
    column: [o[3]!, o[4]!, o[5]!],
    rowSpacing: frame.spacing?.row ?? 1,
    columnSpacing: frame.spacing?.column ?? 1,
  };
}

/** Where a series opens: a volume in its middle, a clip or a set of projections at its start. */
export function defaultIndex(loaded: LoadedSeries): number {
  const first = loaded.frames[0];
  const slices = first !== undefined && first.position !== null && first.frameTime === null;
  return slices ? Math.floor((loaded.frames.length - 1) / 2) : 0;
}

