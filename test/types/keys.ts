// Goal: keyBy takes only what can be a key, and wants a serde where JSON would not keep a value. Method: nothing here runs;
// tsc checks that each expected error is one, and that nothing else is.
import {
  bytes,
  f64,
  int64,
  type JsonSafe,
  json,
  type KeyedStream,
  type PipelineBuilder,
  type Serde,
  utf8,
} from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import { some, type } from './equal.ts'

interface Bid {
  readonly auction: number
  readonly item: { readonly tags: readonly string[]; readonly note?: string }
}

const bids = some<PipelineBuilder>().from('bids', kafkaSource({ topic: 'bids', key: utf8, value: json<Bid>() }))

// Strings, numbers, bigints and booleans are keys as they are.
type(bids.keyBy('a', (bid) => String(bid.auction))).is<KeyedStream<Bid, string>>()
type(bids.keyBy('b', (bid) => bid.auction)).is<KeyedStream<Bid, number>>()
type(bids.keyBy('c', (bid) => BigInt(bid.auction))).is<KeyedStream<Bid, bigint>>()
type(bids.keyBy('d', (bid): boolean => bid.auction > 3)).is<KeyedStream<Bid, boolean>>()
type(bids.keyBy('e', (bid, record) => `${record.key}/${bid.auction}` as string, { partitions: 4 })).is<
  KeyedStream<Bid, string>
>()
// @ts-expect-error: an object is no key without a serde
bids.keyBy('f', (bid) => bid.item)
// @ts-expect-error: null is no key
bids.keyBy('g', (bid) => (bid.auction > 3 ? 'big' : null))
// @ts-expect-error: undefined is no key
bids.keyBy('h', (bid) => bid.item.note)
type(bids.keyBy('i', (bid) => ({ id: bid.auction }), { key: some<Serde<{ id: number }>>() })).is<
  KeyedStream<Bid, { id: number }>
>()
// @ts-expect-error: the serde writes another type of key
bids.keyBy('j', (bid) => ({ id: bid.auction }), { key: utf8 })

// The sink's key is the stream's, unless keyOf makes another.
const byNumber = bids.keyBy('number', (bid) => bid.auction)
byNumber.to('out', kafkaSink({ topic: 'out', key: f64, value: json<Bid>() }))
// @ts-expect-error: the key is a number behind this keyBy
byNumber.to('out', kafkaSink({ topic: 'out', key: utf8, value: json<Bid>() }))

// What JSON keeps, and what it does not.
type(some<JsonSafe<Bid>>()).is<true>()
type(some<JsonSafe<string | number | boolean | null>>()).is<true>()
type(some<JsonSafe<readonly { readonly a: number | null }[]>>()).is<true>()
type(some<JsonSafe<bigint>>()).is<false>()
type(some<JsonSafe<Date>>()).is<false>()
type(some<JsonSafe<Buffer>>()).is<false>()
type(some<JsonSafe<Map<string, number>>>()).is<false>()
type(some<JsonSafe<{ readonly at: Date }>>()).is<false>()
type(some<JsonSafe<{ readonly deep: readonly { readonly count: bigint }[] }>>()).is<false>()
type(some<JsonSafe<() => void>>()).is<false>()
type(some<JsonSafe<undefined>>()).is<false>()

const counted = bids.map((bid) => ({ at: bid.auction, count: 1n }))
// @ts-expect-error: JSON would not keep the bigint
counted.keyBy('k', (each) => each.at)
// @ts-expect-error: JSON would not keep it, a number of partitions does not help
counted.keyBy('l', (each) => each.at, { partitions: 3 })
type(counted.keyBy('m', (each) => each.at, { value: some<Serde<{ at: number; count: bigint }>>() })).is<
  KeyedStream<{ at: number; count: bigint }, number>
>()
// @ts-expect-error: a serde of another type
counted.keyBy('n', (each) => each.at, { value: int64 })
// @ts-expect-error: a key's serde does not make the value safe
counted.keyBy('o', (each) => ({ id: each.at }), { key: some<Serde<{ id: number }>>() })

const blobs = some<PipelineBuilder>().from('blobs', kafkaSource({ topic: 'blobs', key: bytes, value: bytes }))
// @ts-expect-error: JSON would not keep a Buffer
blobs.keyBy('p', (blob) => blob.length)
type(blobs.keyBy('q', (blob) => blob.length, { value: bytes })).is<KeyedStream<Buffer, number>>()
type(bids.map((bid) => Buffer.from(String(bid.auction))).keyBy('r', (blob) => blob.length, { value: bytes })).is<
  KeyedStream<Buffer<ArrayBuffer>, number>
>()
