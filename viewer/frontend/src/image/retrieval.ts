/**
 * Progressive loading: a coarse whole picture first, the exact one right after.
 *
 * HTJ2K in RPCL order keeps every resolution at the front of the codestream, so the first bytes decode to a smaller
 * picture. It costs one request more per image, so it is used only where the line is slow enough to gain by it.
 */
import { Enums, utilities } from '@cornerstonejs/core';
import type { Frame } from '../data/frames';
import { firstPart, measuredRate } from './rate';

/** HTJ2K Lossless RPCL, PS3.5 A.4.4. */
export const HTJ2K_RPCL = '1.2.840.10008.1.2.4.202';

/** Lines faster than this show the exact picture as soon as they would the coarse one. */
const FAST_LINE = 1_500_000;

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
