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
