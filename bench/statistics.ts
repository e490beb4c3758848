/** Medians and percentiles of measured values. */

/** The smallest value that at least the share `p` of all values does not exceed; undefined: there are none. */
export function percentile(values: readonly number[], p: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)]
}

export function median(values: readonly number[]): number | undefined {
  const low = percentile(values, 0.5)
  if (low === undefined || values.length % 2 === 1) return low
  const sorted = [...values].sort((a, b) => a - b)
  return (low + (sorted[values.length / 2] ?? low)) / 2
}
