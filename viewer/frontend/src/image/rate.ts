/** How much of a frame to ask for first, and how fast the line is. */
export interface FirstPart {
  /** Bytes to ask for first. */
  bytes: number;
  /** Resolution levels left out of the preview: 1 halves each side. */
  decodeLevel: number;
}

/** How much of a frame to ask for first, by its size; null when the whole is so small that splitting gains nothing. */
export function firstPart(rows: number, columns: number): FirstPart | null {
  const pixels = rows * columns;
  if (pixels < 200 * 200) return null;
  if (pixels <= 1024 * 1024) return { bytes: Math.round(pixels * 0.2), decodeLevel: 1 };
  return { bytes: Math.round(pixels * 0.07), decodeLevel: 2 };
}

/** Bytes per second over the frames fetched so far; null before there is anything to judge by. */
export function measuredRate(entries: readonly Pick<PerformanceResourceTiming, 'transferSize' | 'duration'>[]): number | null {
  const useful = entries.filter((entry) => entry.transferSize > 8_000 && entry.duration > 0);
  if (useful.length < 3) return null;
  const rates = useful.map((entry) => entry.transferSize / (entry.duration / 1000)).sort((a, b) => a - b);
  return rates[Math.floor(rates.length / 2)]!;
}
