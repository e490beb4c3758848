/**
 * The reference pipeline of the fault tests: input value `{k, n, …}` with `n` consecutive per key, output value
 * `{k, n, h, count, partition, offset}` where `h` is the running hash over `n`. Records without a key field are dropped.
 */
import { hashNext, hashStart, jsonObject, jsonOutput, type Model } from './model.ts'

interface Numbered {
  readonly k: string
  readonly n: number
}

export const keyedCountModel: Model<Numbered, { hash: number; count: number }> = {
  name: 'keyed-count',
  input(record) {
    const value = jsonObject(record.value)
    return value === null || value.k === undefined ? null : { k: String(value.k), n: Number(value.n) }
  },
  keyOf: (input) => input.k,
  /** `k` may be a number and `offset` a number in a test's pipeline; both are compared as text. */
  output(record) {
    const output = jsonOutput(record)
    if (output === null) return null
    const { k, n, h, count, partition, offset } = output.fields
    const fields = { k: String(k), n: n ?? null, h: h ?? null, count: count ?? null }
    return { source: output.source, fields: { ...fields, partition: Number(partition), offset: String(offset) } }
  },
  start: () => ({ hash: hashStart, count: 0 }),
  next(state, input, source) {
    state.hash = hashNext(state.hash, input.n)
    state.count += 1
    const from = { partition: source.partition, offset: String(source.offset) }
    return { k: input.k, n: input.n, h: state.hash, count: state.count, ...from }
  },
}
