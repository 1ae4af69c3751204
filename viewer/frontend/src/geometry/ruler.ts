/** The scale bar: a round length in millimetres that fits the screen. */
export interface Ruler {
  millimetres: number;
  pixels: number;
  /** How many equal divisions to draw. */
  divisions: number;
}

/**
 * The longest of 1, 2, 5 × 10ⁿ mm which is no longer than `available` screen pixels.
 *
 * @param pixelsPerMillimetre  screen pixels (CSS) one millimetre takes
 * @param available  screen pixels (CSS) the bar may take
 */
export function ruler(pixelsPerMillimetre: number, available: number): Ruler | null {
  if (!(pixelsPerMillimetre > 0) || !Number.isFinite(pixelsPerMillimetre) || !(available > 0)) return null;
  const longest = available / pixelsPerMillimetre;
  const magnitude = 10 ** Math.floor(Math.log10(longest));
  const leading = [5, 2, 1].find((digit) => digit * magnitude <= longest * (1 + 1e-9)) ?? 1;
  const millimetres = leading * magnitude;
  return { millimetres, pixels: millimetres * pixelsPerMillimetre, divisions: leading === 1 ? 10 : leading };
}
