// Kafka's default partitioner, byte for byte as the Java client's (org.apache.kafka.common.utils.Utils.murmur2): a key
// must land in the partition where other producers put it.

/** The partition of a key's bytes among `partitions`. */
export function partitionOf(bytes: Uint8Array, start: number, length: number, partitions: number): number {
  return (murmur2(bytes, start, length) & 0x7fffffff) % partitions
}

export function murmur2(bytes: Uint8Array, start: number, length: number): number {
  const m = 0x5bd1e995
  let h = 0x9747b28c ^ length
  const words = length >> 2
  for (let i = 0; i < words; i++) {
    const at = start + i * 4
    let k =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    k = Math.imul(k, m)
    h = Math.imul(h, m)
    h ^= k
  }
  const rest = start + (length & ~3)
  const left = length & 3
  if (left === 3) h ^= (bytes[rest + 2] as number) << 16
  if (left >= 2) h ^= (bytes[rest + 1] as number) << 8
  if (left >= 1) {
    h ^= bytes[rest] as number
    h = Math.imul(h, m)
  }
  h ^= h >>> 13
  h = Math.imul(h, m)
  h ^= h >>> 15
  return h
}
