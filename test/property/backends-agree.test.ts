/**
 * Goal: whatever backend a pipeline's state is on, and however often it crashes, moves to the other one or is restored from a savepoint, its
 * output has the same bytes in the same order. Method: random records, checkpoints, crashes and moves of the clock through a pipeline with
 * a state of every kind and timers, whose output tells all of it; beside one on the heap that never crashes.
 */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { PipelineTester, type TestOutput } from '../../connectors/memory/index.ts'
import {
  aggregatingState,
  definePipeline,
  type Encoder,
  f64,
  json,
  listState,
  mapState,
  object,
  ordered,
  reducingState,
  utf8,
  valueState,
  withTtl,
} from '../../src/index.ts'

const PARTITIONS = 2
const TTL_MS = 1_500
/** Between two moves of the clock; records of a round ask for timers in the next ones. */
const ROUND_MS = 1_000

/** A sink that only writes: the tester shows its bytes. */
const written: Encoder<string> = { id: 'utf8', nullable: false, encode: utf8.encode }

const everything = definePipeline('everything', (pipeline) => {
  pipeline
    .from('in', kafkaSource({ topic: 'in', key: utf8, value: f64 }))
    .keyByRecordKey()
    .withState({
      count: valueState(f64, 0),
      last: valueState(json<{ readonly n: number }>()),
      recent: withTtl(valueState(f64), { ttlMs: TTL_MS }),
      all: listState(f64),
      byNumber: mapState(ordered.f64, object({ n: f64, text: utf8 })),
      most: reducingState(f64, Math.max),
      mean: aggregatingState(json<{ sum: number; count: number }>(), {
        create: () => ({ sum: 0, count: 0 }),
        add: ({ sum, count }, n: number) => ({ sum: sum + n, count: count + 1 }),
        result: ({ sum, count }) => sum / count,
      }),
    })
    .process<string>('tell', {
      onRecord(n, { state, emit, timers }) {
        const { count, last, recent, all, byNumber, most, mean } = state
        const before = { last: last.get(), recent: recent.get(), map: [...byNumber.entries()], list: all.get() }
        count.set(count.get() + 1)
        if (n % 7 === 0) for (const each of [last, all, byNumber, most, mean]) each.clear()
        last.set({ n })
        recent.set(n)
        all.add(n)
        byNumber.set((n % 5) - 2, { n, text: '·'.repeat(n % 40) })
        if (n % 3 === 0) byNumber.delete((n % 4) - 2)
        most.add(n)
        mean.add(n)
        // No two at one time: there are fewer records than milliseconds in a round.
        if (n % 2 === 0) timers.set(timers.now() + ROUND_MS * (1 + (n % 3)) + n)
        emit(JSON.stringify([n, count.get(), before, most.get(), mean.get()]))
      },
      onTimer(time, { state, emit }) {
        emit(
          `at ${time}: ${[...state.byNumber.keys({ reverse: true })]}, ${state.all.get().length} of ${state.count.get()}`,
        )
        state.byNumber.clear()
      },
    })
    .to('out', kafkaSink({ topic: 'out', key: utf8, value: written }))
})

type Move =
  | { readonly do: 'send'; readonly keys: readonly number[] }
  | { readonly do: 'checkpoint' | 'crash' | 'crash to heap' | 'crash to leveldb' | 'restore' | 'advance' }

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('send' as const), keys: fc.array(fc.nat(5), { maxLength: 12 }) }),
  },
  fc.record({
    do: fc.constantFrom('checkpoint', 'crash', 'crash to heap', 'crash to leveldb', 'restore', 'advance' as const),
  }) as fc.Arbitrary<Move>,
)

/** `crashes`: `none` of them; what else a move does is the same. */
async function outputOf(
  moves: readonly Move[],
  backend: 'heap' | 'leveldb',
  crashes: 'none' | 'all',
): Promise<TestOutput[]> {
  await using tester = await PipelineTester.start(everything, { backend, partitions: PARTITIONS })
  let n = 0
  for (const each of moves) {
    if (each.do === 'send') for (const key of each.keys) tester.send('in', { key: `k${key}`, value: n++ })
    else if (each.do === 'advance') {
      // What came before a time was worked off before it, also by who is killed later.
      await tester.settle()
      await tester.advance(ROUND_MS)
      await tester.settle()
    } else if (crashes === 'none') await tester.run()
    else if (each.do === 'checkpoint') await tester.checkpoint()
    else if (each.do === 'crash') await tester.crash()
    else if (each.do === 'restore') await tester.restore({ backend: 'leveldb' })
    else await tester.crash(each.do === 'crash to heap' ? 'heap' : 'leveldb')
  }
  await tester.settle()
  await tester.advance(10 * ROUND_MS)
  await tester.settle()
  return tester.output('out').map((each) => ({ ...each, value: (each.value as Buffer).toString('latin1') }))
}

test('the same bytes in the same order, on the heap, on disk, and from one to the other', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(move, { minLength: 5, maxLength: 30 }), async (moves) => {
      const expected = await outputOf(moves, 'heap', 'none')
      fc.pre(expected.length > 0)
      expect(await outputOf(moves, 'heap', 'all')).toEqual(expected)
      expect(await outputOf(moves, 'leveldb', 'all')).toEqual(expected)
    }),
    { numRuns: 60 },
  )
}, 120_000)
