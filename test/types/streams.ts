// Goal: types flow from source to sink without annotations, and a wrong one does not compile. Method: nothing here runs; tsc
// checks that each expected error is one, and that nothing else is.
import { bytes, f64, int64, json, type KeyedStream, nullable, type PipelineBuilder, type Stream, utf8 } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'
import { some, type } from './equal.ts'

interface Bid {
  readonly auction: number
  readonly price: number
}

const pipeline = some<PipelineBuilder>()
const bids = pipeline.from('bids', kafkaSource({ topic: 'bids', key: utf8, value: json<Bid>() }))
type(bids).is<Stream<Bid, string>>()

// The test's own tool sees a difference.
// @ts-expect-error: not equal
type(bids).is<Stream<Bid, number>>()
// @ts-expect-error: assignable, yet not equal
type(some<'a'>()).is<string>()

// map, filter, flatMap: the output is what the function gives.
type(bids.map((bid) => bid.price)).is<Stream<number, string>>()
type(bids.map((bid, { key, offset }) => ({ key, offset, at: bid.auction }))).is<
  Stream<{ key: string; offset: bigint; at: number }, string>
>()
type(bids.filter((bid) => bid.price > 0)).is<Stream<Bid, string>>()
type(bids.flatMap((bid) => [bid.price, String(bid.price)])).is<Stream<string | number, string>>()
type(
  bids.flatMap(function* (bid) {
    yield bid.auction
  }),
).is<Stream<number, string>>()
type(bids.map((bid) => (bid.price > 9 ? 'dear' : null)).filter((word) => word !== null)).is<Stream<'dear', string>>()
// @ts-expect-error: a filter says yes or no
bids.filter((bid) => bid.price)
// @ts-expect-error: flatMap gives something iterable
bids.flatMap((bid) => bid.price)
// @ts-expect-error: the value has no such field
bids.map((bid) => bid.bidder)

// patch: the function sees the fields it names, and what it returns is set.
type(bids.patch(['price'], ({ price }) => ({ fee: price / 40 })).map((bid) => bid.fee + bid.auction)).is<
  Stream<number, string>
>()
type(bids.patch([], () => ({ price: 'dear' })).map((bid) => bid.price)).is<Stream<string, string>>()
// @ts-expect-error: the value has no such field
bids.patch(['bidder'], () => ({}))
// @ts-expect-error: a field that is not named is not there
bids.patch(['price'], ({ auction }) => ({ fee: auction }))
// @ts-expect-error: a patch returns fields
bids.patch(['price'], ({ price }) => price)
// @ts-expect-error: a promise is none
bids.patch(['price'], async ({ price }) => ({ fee: price }))
// @ts-expect-error: nor is a list
bids.patch(['price'], ({ price }) => [price])
// What may be left out is as it was, then.
type(bids.patch([], (): { price?: string } => ({})).map((bid) => bid.price)).is<
  Stream<string | number | undefined, string>
>()

// Nullable keys and values stay nullable until somebody looks.
const raw = pipeline.from('raw', kafkaSource({ topic: 'raw', key: nullable(utf8), value: nullable(json<Bid>()) }))
type(raw).is<Stream<Bid | null, string | null>>()
// @ts-expect-error: the value may be null
raw.map((bid) => bid.price)
// @ts-expect-error: null has no fields
raw.patch([], () => ({ fee: 1 }))
type(raw.filter((bid) => bid !== null)).is<Stream<Bid, string | null>>()
raw.to('raw-copy', kafkaSink({ topic: 'copy', key: nullable(utf8), value: nullable(json<Bid>()) }))
// @ts-expect-error: a null key needs a nullable serde
raw.to('raw-copy', kafkaSink({ topic: 'copy', key: utf8, value: nullable(json<Bid>()) }))
// @ts-expect-error: a null value needs a nullable serde
raw.to('raw-copy', kafkaSink({ topic: 'copy', key: nullable(utf8), value: json<Bid>() }))

// Sinks take exactly the stream's types.
bids.to('copy', kafkaSink({ topic: 'copy', key: utf8, value: json<Bid>() }))
bids.to('prices', kafkaSink({ topic: 'prices', key: utf8, value: json() }))
// @ts-expect-error: the value is a Bid
bids.to('copy', kafkaSink({ topic: 'copy', key: utf8, value: f64 }))
// @ts-expect-error: the key is a string
bids.to('copy', kafkaSink({ topic: 'copy', key: f64, value: json<Bid>() }))
// @ts-expect-error: another shape
bids.to('copy', kafkaSink({ topic: 'copy', key: utf8, value: json<{ readonly bidder: number }>() }))

// The choices of a sink per record.
bids.to(
  'chosen',
  kafkaSink({
    topic: ['low', 'high'],
    key: utf8,
    value: json<Bid>(),
    topicOf: (bid, record) => (record.key === 'a' && bid.price > 10 ? 'high' : 'low'),
    keyOf: (bid) => String(bid.auction),
    partitioner: (key, bid, partitions) => (key.length + bid.auction) % partitions,
    headers: (bid) => [['price', String(bid.price)]],
  }),
)
// @ts-expect-error: keyOf gives what the key's serde writes
kafkaSink({ topic: 'low', key: utf8, value: json<Bid>(), keyOf: (bid) => bid.auction })
// @ts-expect-error: topicOf gives a topic's name
kafkaSink({ topic: 'low', key: utf8, value: json<Bid>(), topicOf: (bid) => bid.auction })

// A union is of equal types.
type(bids.union(bids.filter((bid) => bid.price > 1))).is<Stream<Bid, string>>()
// @ts-expect-error: another value type
bids.union(bids.map((bid) => bid.price))
// @ts-expect-error: a wider value type
bids.union(raw)
const numbered = pipeline.from('numbered', kafkaSource({ topic: 'numbered', key: int64, value: json<Bid>() }))
// @ts-expect-error: another key type
bids.union(numbered)

// asyncMap: what the promise gives; its function is asynchronous.
type(
  bids.asyncMap('look-up', async (bid, record, signal) => ({ name: record.key, off: signal.aborted, at: bid.price })),
).is<Stream<{ name: string; off: boolean; at: number }, string>>()
// @ts-expect-error: not a promise
bids.asyncMap('look-up', (bid) => bid.price)
// @ts-expect-error: no such order
bids.asyncMap('look-up', async (bid) => bid.price, { order: 'random' })

// The record's own key keeps its type; bytes are a key with a serde of their own only.
type(bids.keyByRecordKey()).is<KeyedStream<Bid, string>>()
const blobs = pipeline.from('blobs', kafkaSource({ topic: 'blobs', key: bytes, value: bytes }))
type(blobs.keyByRecordKey()).is<KeyedStream<Buffer, Buffer>>()

// A sink takes what its serde can write: bytes of any origin.
bids.map((bid) => Buffer.from(String(bid.price))).to('bytes', kafkaSink({ topic: 'bytes', key: utf8, value: bytes }))
blobs.to('blobs-copy', kafkaSink({ topic: 'bytes', key: bytes, value: bytes }))
bids.map((): 'a' | 'b' => 'a').to('letters', kafkaSink({ topic: 'letters', key: utf8, value: utf8 }))
