/**
 * The plane of an image in the patient: from Image Position, Image Orientation and Pixel Spacing (PS3.3 C.7.6.2.1.1).
 *
 * Two conventions meet here. The image plane puts coordinate (0, 0) at the CENTRE of the first pixel. SCOORD
 * (PS3.3 C.18.6.1.1) puts (0, 0) at its top-left CORNER, so its centre is (0.5, 0.5). Half a pixel lies between them.
 */
import { add, cross, dot, scale, subtract, unit, type Vec3 } from './vector';

export interface Plane {
  /** Centre of the first pixel, mm. */
  position: Vec3;
  /** Unit vector along a row (towards higher column numbers). */
  row: Vec3;
  /** Unit vector down a column (towards higher row numbers). */
  column: Vec3;
  /** Distance between columns along a row, mm. */
  columnSpacing: number;
  /** Distance between rows down a column, mm. */
  rowSpacing: number;
}

export type Point2 = readonly [column: number, row: number];

export const normal = (plane: Plane): Vec3 => unit(cross(plane.row, plane.column));

/** SCOORD coordinates of a point, projected on the plane. */
export function toImage(plane: Plane, world: Vec3): Point2 {
  const offset = subtract(world, plane.position);
  return [dot(offset, plane.row) / plane.columnSpacing + 0.5, dot(offset, plane.column) / plane.rowSpacing + 0.5];
}

/** The point of the plane at SCOORD coordinates. */
export function toWorld(plane: Plane, [column, row]: Point2): Vec3 {
  return add(
    plane.position,
    add(scale(plane.row, (column - 0.5) * plane.columnSpacing), scale(plane.column, (row - 0.5) * plane.rowSpacing)),
  );
}

/** Half a pixel to the right and down: what the CPU renderer's world coordinates are off by. */
export function halfPixel(plane: Plane): Vec3 {
  return add(scale(plane.row, plane.columnSpacing / 2), scale(plane.column, plane.rowSpacing / 2));
}
