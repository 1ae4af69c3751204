import { describe, expect, it } from 'vitest';
import { directionLetters, edgeLetters, oppositeLetters } from '../src/geometry/orientation';
import { halfPixel, normal, toImage, toWorld, type Plane } from '../src/geometry/plane';
import { ruler } from '../src/geometry/ruler';

describe('orientation letters', () => {
  it('names the axes of the patient coordinate system', () => {
    expect(directionLetters([1, 0, 0])).toBe('L');
    expect(directionLetters([-1, 0, 0])).toBe('R');
    expect(directionLetters([0, 1, 0])).toBe('P');
    expect(directionLetters([0, 0, 1])).toBe('H');
  });

  it('puts the dominant axis first and drops what is negligible', () => {
    expect(directionLetters([0.5, 0, -0.86])).toBe('FL');
    expect(directionLetters([0.99, 0.1, 0])).toBe('L');
  });

  it('reads an axial slice as radiologists do: patient right on screen left', () => {
    expect(edgeLetters([1, 0, 0], [0, 1, 0], null)).toEqual({ left: 'R', right: 'L', top: 'A', bottom: 'P' });
  });

  it('follows a horizontal flip', () => {
    expect(edgeLetters([-1, 0, 0], [0, 1, 0], null)).toEqual({ left: 'L', right: 'R', top: 'A', bottom: 'P' });
  });

  it('uses Patient Orientation where the image has no place in space', () => {
    expect(edgeLetters([1, 0, 0], [0, 1, 0], ['L', 'F'])).toEqual({ left: 'R', right: 'L', top: 'H', bottom: 'F' });
    // Turned by 90° clockwise: the screen's right is the image's top.
    expect(edgeLetters([0, -1, 0], [1, 0, 0], ['L', 'F'])).toEqual({ left: 'F', right: 'H', top: 'R', bottom: 'L' });
    expect(oppositeLetters('AR')).toBe('PL');
  });
});

describe('image plane', () => {
  const plane: Plane = { position: [-100, -80, 30], row: [1, 0, 0], column: [0, 0, -1], columnSpacing: 0.5, rowSpacing: 2 };

  it('puts the centre of the first pixel at SCOORD (0.5, 0.5)', () => {
    expect(toImage(plane, plane.position)).toEqual([0.5, 0.5]);
  });

  it('goes to the world and back', () => {
    const world = toWorld(plane, [12.25, 7.5]);
    expect(world).toEqual([-100 + 11.75 * 0.5, -80, 30 - 7 * 2]);
    expect(toImage(plane, world)).toEqual([12.25, 7.5]);
  });

  it('knows half a pixel and its normal', () => {
    expect(halfPixel(plane).map((value) => value + 0)).toEqual([0.25, 0, -1]);
    expect(normal(plane).map((value) => value + 0)).toEqual([0, 1, 0]);
  });
});

describe('ruler', () => {
  it('takes the longest round length that fits', () => {
    expect(ruler(2, 180)).toEqual({ millimetres: 50, pixels: 100, divisions: 5 });
    expect(ruler(3.6, 180)?.millimetres).toBe(50);
    expect(ruler(200, 180)?.millimetres).toBe(0.5);
  });

  it('draws nothing without a scale', () => {
    expect(ruler(Number.NaN, 180)).toBeNull();
    expect(ruler(0, 180)).toBeNull();
  });
});
