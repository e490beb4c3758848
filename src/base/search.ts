// Binary search in what is in order.

/** Where `holds` begins to be true; it stays so. */
export function firstWhere<T>(all: readonly T[], holds: (each: T) => boolean): number {
  let low = 0
  for (let high = all.length; low < high; ) {
    const middle = (low + high) >> 1
    if (holds(all[middle] as T)) high = middle
    else low = middle + 1
  }
  return low
}
