/** Fetching slices before they are asked for: first where the doctor is going, then where they came from. */
import { cache, Enums, imageLoader, imageLoadPoolManager } from '@cornerstonejs/core';
import type { Backend } from './setup';

const MARK = 'consilium.prefetch';

/**
 * Indexes in the order in which they are worth fetching.
 *
 * Three steps ahead in the direction of travel for each step behind, out to the ends of the series.
 *
 * @param direction  +1 or −1: where the last movement went
 */
export function prefetchOrder(current: number, direction: 1 | -1, count: number): number[] {
  const order: number[] = [];
  let ahead = 1;
  let behind = 1;
  while (order.length < count - 1) {
    const before = order.length;
    for (let k = 0; k < 3; k += 1) {
      const index = current + direction * ahead++;
      if (index >= 0 && index < count) order.push(index);
    }
    const index = current - direction * behind++;
    if (index >= 0 && index < count) order.push(index);
    if (order.length === before && ahead > count && behind > count) break;
  }
  return order;
}

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
