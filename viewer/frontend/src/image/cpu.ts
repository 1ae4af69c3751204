/**
 * Without WebGL Cornerstone draws on a 2D canvas, and its world coordinates are half a pixel too far right and down:
 * it takes the CORNER of the first pixel for Image Position (Patient), which is the CENTRE (PS3.3 C.7.6.2.1.1).
 * Correcting the two conversions at the viewport corrects everything above it: tools, statistics, stored marks, letters.
 */
import type { StackViewport, Types } from '@cornerstonejs/core';
import { halfPixel, type Plane } from '../geometry/plane';
import { add, subtract, vec3, type Vec3 } from '../geometry/vector';

export function correctHalfPixel(viewport: StackViewport, planeNow: () => Plane | null): void {
  const toWorld = viewport.canvasToWorld;
  const toCanvas = viewport.worldToCanvas;
  const shift = (): Vec3 => {
    const plane = planeNow();
    return plane ? halfPixel(plane) : [0, 0, 0];
  };
  viewport.canvasToWorld = (canvas) => {
    const world = toWorld.call(viewport, canvas);
    return (world ? [...subtract(vec3(world), shift())] : world) as Types.Point3;
  };
  viewport.worldToCanvas = (world) => toCanvas.call(viewport, [...add(vec3(world), shift())] as Types.Point3);
}
