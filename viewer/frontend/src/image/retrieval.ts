/**
 * Progressive loading: a coarse whole picture first, the exact one right after.
 *
 * HTJ2K in RPCL order keeps every resolution at the front of the codestream, so the first bytes decode to a smaller
 * picture. It costs one request more per image, so it is used only where the line is slow enough to gain by it.
 */
import { Enums, utilities } from '@cornerstonejs/core';
import type { Frame } from '../data/frames';

/** HTJ2K Lossless RPCL, PS3.5 A.4.4. */
export const HTJ2K_RPCL = '1.2.840.10008.1.2.4.202';

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

/** Lines faster than this show the exact picture as soon as they would the coarse one. */
const FAST_LINE = 1_500_000;

/** Bytes per second over the frames fetched so far; null before there is anything to judge by. */
export function measuredRate(entries: readonly Pick<PerformanceResourceTiming, 'transferSize' | 'duration'>[]): number | null {
  const useful = entries.filter((entry) => entry.transferSize > 8_000 && entry.duration > 0);
  if (useful.length < 3) return null;
  const rates = useful.map((entry) => entry.transferSize / (entry.duration / 1000)).sort((a, b) => a - b);
  return rates[Math.floor(rates.length / 2)]!;
}

function frameTimings(): PerformanceResourceTiming[] {
  const all = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
  return all.filter((entry) => entry.name.includes('/frames/')).slice(-24);
}

/** Set up how the next stack is fetched. Called before each `setStack`. */
export function configureRetrieval(frame: Frame, backend: 'gpu' | 'cpu'): void {
  const provider = utilities.imageRetrieveMetadataProvider;
  const part = firstPart(frame.rows, frame.columns);
  const rate = measuredRate(frameTimings());
  const grey = frame.samplesPerPixel === 1 && !frame.photometric.startsWith('PALETTE');
  const worth = part !== null && grey && backend === 'gpu' && frame.transferSyntaxUid === HTJ2K_RPCL && (rate === null || rate < FAST_LINE);
  if (!worth) {
    provider.add('stack', undefined);
    return;
  }
  provider.add('stack', {
    stages: [
      { id: 'preview', retrieveType: 'preview', requestType: Enums.RequestType.Interaction },
      { id: 'exact', retrieveType: 'exact', requestType: Enums.RequestType.Interaction },
    ],
    retrieveOptions: {
      preview: {
        rangeIndex: 0,
        chunkSize: part.bytes,
        initialChunkSize: part.bytes,
        decodeLevel: part.decodeLevel,
        imageQualityStatus: Enums.ImageQualityStatus.SUBRESOLUTION,
      },
      exact: { rangeIndex: -1 },
    },
  });
}
