/** Fetching slices before they are asked for: first where the doctor is going, then where they came from. */
import { cache, Enums, imageLoader, imageLoadPoolManager } from '@cornerstonejs/core';
import { prefetchOrder } from './order';
import type { Backend } from './setup';

const MARK = 'consilium.prefetch';

/** No more than this is fetched ahead: memory is the tablet's. */
const BYTES_AHEAD = 600 * 1024 * 1024;

export class Prefetcher {
  private last = -1;
  private direction: 1 | -1 = 1;

  constructor(
    private readonly id: string,
    private readonly backend: Backend,
  ) {}

  stop(): void {
    const mine = this.id;
    imageLoadPoolManager.filterRequests(({ additionalDetails }) => {
      const details = additionalDetails as { mark?: string; pane?: string } | undefined;
      return !(details?.mark === MARK && details.pane === mine);
    });
  }

  /** The pane now shows `current`: replan. */
  moved(imageIds: readonly string[], current: number, bytesPerImage: number): void {
    if (this.last >= 0 && current !== this.last) this.direction = current > this.last ? 1 : -1;
    this.last = current;
    this.stop();
    const limit = Math.max(8, Math.floor(BYTES_AHEAD / Math.max(1, bytesPerImage)));
    prefetchOrder(current, this.direction, imageIds.length)
      .slice(0, limit)
      .map((index) => imageIds[index]!)
      .filter((imageId) => !cache.isLoaded(imageId))
      .forEach((imageId, priority) => {
        const options = { requestType: Enums.RequestType.Prefetch, priority, useRGBA: this.backend === 'cpu' };
        const run = () => imageLoader.loadAndCacheImage(imageId, options).catch(() => undefined);
        imageLoadPoolManager.addRequest(run as never, Enums.RequestType.Prefetch, { imageId, mark: MARK, pane: this.id } as never, priority);
      });
  }

  restart(): void {
    this.last = -1;
    this.direction = 1;
    this.stop();
  }
}
