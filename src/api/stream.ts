// Streams as users compose them. Every method adds one node to the graph and gives the next stream; types flow from
// source to sink without annotations.
import { MillraceError } from '../base/errors.ts'
import { type OperatorId, operatorId } from '../base/ids.ts'
import type {
  AsyncMapOptions,
  ConnectedFunction,
  OperatorFunctions,
  OperatorStateFunction,
  ProcessContext,
  ProcessFunction,
  RecordContext,
} from '../dataflow/functions.ts'
import type { BroadcastInput, Graph, PlanNode } from '../dataflow/graph.ts'
import type { SinkConnector, SourceConnector } from '../dataflow/ports.ts'
import { taskKey } from '../state/broadcast.ts'
import type { DeepReadonly, ListState, StateDescriptor, StateDescriptors, StateHandles } from '../state/descriptors.ts'
import { checkFieldNames } from '../state/json-projection.ts'
import { anyKey, type Key, plainOf, type RoundTrip, type Serde } from '../state/serde.ts'
import { TIMERS, timersState } from '../state/timers.ts'

/** True for types that survive JSON unchanged: others need a serde of their own where a record crosses a topic. */
export type JsonSafe<T> = T extends string | number | boolean | null
  ? true
  : T extends bigint | symbol | undefined | Date | Map<unknown, unknown> | Set<unknown> | ArrayBufferView
    ? false
    : T extends (...args: never[]) => unknown
      ? false
      : T extends readonly (infer E)[]
        ? JsonSafe<E>
        : T extends object
          ? false extends { [P in keyof T]-?: JsonSafe<Exclude<T[P], undefined>> }[keyof T]
            ? false
            : true
          : false

export interface KeyByOptions<V, K> {
  /** Canonical bytes of the key. Default: strings, numbers, bigints and booleans. */
  readonly key?: Serde<K>
  /** Bytes of the value in the repartition topic. Default: JSON, for types that JSON keeps. */
  readonly value?: RoundTrip<V>
  /** Partitions of the repartition topic. Default: as many as the widest source of the stage. */
  readonly partitions?: number
}

/** A value that JSON does not keep needs a serde of its own for the repartition topic. */
type ValueSerde<V> = JsonSafe<V> extends true ? unknown : { readonly value: RoundTrip<V> }
type KeyByArguments<V, K> =
  JsonSafe<V> extends true
    ? [options?: KeyByOptions<V, K>]
    : [options: KeyByOptions<V, K> & { readonly value: RoundTrip<V> }]

type OptionalKeys<P> = { [K in keyof P]-?: Record<never, never> extends Pick<P, K> ? K : never }[keyof P]

/** V with the fields of P set; those that P may leave out are as they were, then. */
export type Patched<V, P> = V extends unknown
  ? Omit<V, keyof P> &
      Omit<P, OptionalKeys<P>> & {
        [K in OptionalKeys<P>]?: Exclude<P[K], undefined> | (K extends keyof V ? V[K] : never)
      }
  : never

/** What a patch returns: fields; no list and no promise. */
export type PatchFields = object & { readonly then?: never; readonly [Symbol.iterator]?: never }

/** The signatures of `keyBy`. */
export interface KeyBy<V, K> {
  <K2 extends Key>(
    name: string,
    fn: (value: V, record: RecordContext<K>) => K2,
    ...options: KeyByArguments<V, K2>
  ): KeyedStream<V, K2>
  /** Keys of other types need a serde with canonical bytes: equal keys, equal bytes. */
  <K2>(
    name: string,
    fn: (value: V, record: RecordContext<K>) => K2,
    options: KeyByOptions<V, K2> & { readonly key: Serde<K2> } & ValueSerde<V>,
  ): KeyedStream<V, K2>
}

/** Collects nodes; one per pipeline. */
export class GraphBuilder {
  readonly #nodes: PlanNode[] = []
  readonly #names = new Map<string, number>()

  add(node: PlanNode): OperatorId {
    this.#nodes.push(node)
    return node.id
  }

  /** The id of an unnamed operator: what it follows, its kind, and a number. */
  derived(from: OperatorId, kind: string): OperatorId {
    const base = `${from}.${kind}`
    const count = (this.#names.get(base) ?? 0) + 1
    this.#names.set(base, count)
    return operatorId(`${base}-${count}`)
  }

  graph(): Graph {
    return { nodes: this.#nodes }
  }
}

/** Records of type V with keys of type K. */
export class Stream<in out V, in out K> {
  protected readonly builder: GraphBuilder
  protected readonly id: OperatorId
  protected readonly keySerde: Serde<unknown>

  constructor(builder: GraphBuilder, id: OperatorId, keySerde: Serde<unknown>) {
    this.builder = builder
    this.id = id
    this.keySerde = keySerde
  }

  /** For what connects streams of one pipeline. @throws PLAN_INVALID */
  static idOf<V, K>(stream: Stream<V, K>, builder: GraphBuilder): OperatorId {
    if (stream.builder === builder) return stream.id
    throw new MillraceError('PLAN_INVALID', `stream '${stream.id}' belongs to another pipeline`)
  }

  private next<R>(node: PlanNode): Stream<R, K> {
    return new Stream<R, K>(this.builder, this.builder.add(node), this.keySerde)
  }

  /** One result for each value. */
  map<R>(fn: (value: V, record: RecordContext<K>) => R): Stream<R, K> {
    const id = this.builder.derived(this.id, 'map')
    return this.next<R>({ kind: 'map', id, inputs: [this.id], fn: fn as never })
  }

  /**
   * Sets fields of the value: `fn` gets those that it names and returns those to set, all others stay. The result is that of
   * `map((value) => ({ ...value, ...fn(value) }))`, for a fraction of the cost between a `json()` source and a `json()` sink with
   * no `map` between them: the rest of the text is neither decoded nor written anew, but checked and copied. Blanks and the digits
   * of large numbers mostly stay as they are, then; do not count on it: some texts are written anew (names with escapes,
   * more than 64 levels, a field of theirs set to undefined). With `onDecodeError: 'skip'` every value is decoded first.
   * @throws OPTION_INVALID, when the plan is made, for a field named twice, called `__proto__`, or with characters that are none
   */
  patch<const F extends readonly (keyof V & string)[], P extends PatchFields>(
    this: [V] extends [object] ? Stream<V, K> : never,
    fields: F,
    fn: (value: Pick<V, F[number]>, record: RecordContext<K>) => P,
  ): Stream<Patched<V, P>, K> {
    const id = this.builder.derived(this.id, 'patch')
    checkFieldNames(fields, `patch behind '${this.id}'`)
    return this.next<Patched<V, P>>({ kind: 'patch', id, inputs: [this.id], fields: [...fields], fn: fn as never })
  }

  /** Keeps the values for which `fn` is true. */
  filter<R extends V>(fn: (value: V, record: RecordContext<K>) => value is R): Stream<R, K>
  filter(fn: (value: V, record: RecordContext<K>) => boolean): Stream<V, K>
  filter(fn: (value: V, record: RecordContext<K>) => boolean): Stream<V, K> {
    const id = this.builder.derived(this.id, 'filter')
    return this.next<V>({ kind: 'filter', id, inputs: [this.id], fn: fn as never })
  }

  /** Any number of results for each value. */
  flatMap<R>(fn: (value: V, record: RecordContext<K>) => Iterable<R>): Stream<R, K> {
    const id = this.builder.derived(this.id, 'flat-map')
    return this.next<R>({ kind: 'flat-map', id, inputs: [this.id], fn: fn as never })
  }

  /** This stream and others as one. Order is kept within each input, not between them. */
  union(...others: readonly Stream<V, K>[]): Stream<V, K> {
    const id = this.builder.derived(this.id, 'union')
    return this.next<V>({ kind: 'union', id, inputs: [this.id, ...others.map((other) => other.id)] })
  }

  /**
   * One asynchronous result for each value, for I/O. Effects of `fn` on other systems happen at least once: after a
   * failure the records since the last checkpoint are processed again.
   */
  asyncMap<R>(
    name: string,
    fn: (value: V, record: RecordContext<K>, signal: AbortSignal) => Promise<R>,
    options: AsyncMapOptions = {},
  ): Stream<R, K> {
    const settings = {
      capacity: options.capacity ?? 100,
      timeoutMs: options.timeoutMs ?? 10_000,
      order: options.order ?? ('ordered' as const),
      retry: options.retry ?? { attempts: 0, delayMs: 0 },
    }
    return this.next<R>({
      kind: 'async-map',
      id: operatorId(name),
      name,
      inputs: [this.id],
      fn: fn as never,
      options: settings,
    })
  }

  /**
   * Routes each record through a repartition topic to the task of its new key: a key lives in one task, however many
   * workers run.
   */
  readonly keyBy: KeyBy<V, K> = ((name: string, fn: unknown, options?: KeyByOptions<V, unknown>) =>
    this.#keyBy(name, fn, options)) as never

  #keyBy(name: string, fn: unknown, options: KeyByOptions<V, unknown> | undefined): KeyedStream<V, unknown> {
    const given = options ?? {}
    const key = plainOf((given.key ?? anyKey) as Serde<unknown>)
    const id = this.builder.add({
      kind: 'key-by',
      id: operatorId(name),
      name,
      inputs: [this.id],
      fn: fn as never,
      key,
      value: given.value as Serde<unknown> | undefined,
      partitions: given.partitions,
    })
    return new KeyedStream<V, unknown>(this.builder, id, key)
  }

  /** Keeps the record's own key and partition: no extra hop. The topic must be partitioned by that key. */
  keyByRecordKey(): KeyedStream<V, K> {
    const id = this.builder.derived(this.id, 'key')
    this.builder.add({ kind: 'key-by-record-key', id, inputs: [this.id] })
    return new KeyedStream<V, K>(this.builder, id, this.keySerde)
  }

  /**
   * Declares state of the operator that follows which belongs to its task, whatever the records' keys: lists. There are as many tasks as
   * partitions; a savepoint that is restored with another number of them deals the items of a `listState` out, and gives those of a
   * `unionListState` to all.
   */
  withOperatorState<D extends Readonly<Record<string, StateDescriptor<ListState<unknown>>>>>(
    states: D,
  ): OperatorStateStream<V, K, D> {
    return {
      process: <Out>(name: string, functions: OperatorStateFunction<V, K, D, Out>) => {
        const id = operatorId(name)
        const node = { kind: 'keyed' as const, id, name, inputs: [this.id], states, perTask: true as const }
        const of = { functions: functions as unknown as OperatorFunctions, key: taskKey as Serde<unknown> }
        return this.next<Out>({ ...node, ...of })
      },
    }
  }

  /** Ends the stream in a sink. */
  to(name: string, sink: SinkConnector<K, V>): void {
    this.builder.add({ kind: 'sink', id: operatorId(name), name, inputs: [this.id], connector: sink as never })
  }
}

/** A stream whose records of one key are all in one task. */
export class KeyedStream<in out V, in out K> extends Stream<V, K> {
  /** Declares the state of the operator that follows. */
  withState<D extends StateDescriptors>(states: D): StatefulStream<V, K, D> {
    return new StatefulStream<V, K, D>(this.builder, this.id, this.keySerde, states)
  }
}

/** A keyed stream and the state of its next operator. The operator's name is the address of its state. */
export class StatefulStream<V, K, D extends StateDescriptors> {
  readonly #builder: GraphBuilder
  readonly #input: OperatorId
  readonly #key: Serde<unknown>
  readonly #states: D

  constructor(builder: GraphBuilder, input: OperatorId, key: Serde<unknown>, states: D) {
    this.#builder = builder
    this.#input = input
    this.#key = key
    this.#states = states
  }

  /** One result for each value, with state. */
  map<R>(
    name: string,
    fn: (
      value: V,
      context: { readonly key: K; readonly state: StateHandles<D>; readonly record: RecordContext<K> },
    ) => R,
  ): Stream<R, K> {
    return this.#operator(name, {
      onRecord: (value, context) => context.replace(fn(value as V, context as never)),
    })
  }

  /** Any number of results for each value, with state. */
  flatMap<R>(
    name: string,
    fn: (
      value: V,
      context: { readonly key: K; readonly state: StateHandles<D>; readonly record: RecordContext<K> },
    ) => Iterable<R>,
  ): Stream<R, K> {
    return this.#operator(name, {
      onRecord(value, context) {
        for (const result of fn(value as V, context as never)) context.emit(result)
      },
    })
  }

  /** The full form: `emit` any number of results, timers, `open` and `close` hooks. */
  process<Out>(name: string, functions: ProcessFunction<V, K, D, Out>): Stream<Out, K> {
    return this.#operator(name, functions as unknown as OperatorFunctions)
  }

  /**
   * Gives every task of the operator that follows all records of another stream, beside its own: rules, prices, switches. Each task keeps a copy of the
   * broadcast state, changed by those records and read by its own. The stream is a source of one topic with one partition, and `map`, `filter`,
   * `flatMap` and `patch` behind it; it goes nowhere else. The topic is read from its beginning (compact it), and at each start up to its end before
   * the first record is processed.
   */
  connectBroadcast<R, RK, B extends StateDescriptors>(
    stream: Stream<R, RK>,
    states: B,
  ): ConnectedStream<V, K, D, R, RK, B> {
    const broadcast = { input: Stream.idOf(stream, this.#builder), states }
    return {
      process: (name, functions) => this.#operator(name, functions as unknown as OperatorFunctions, broadcast),
    }
  }

  #operator<R>(name: string, functions: OperatorFunctions, broadcast?: BroadcastInput): Stream<R, K> {
    if (TIMERS in this.#states)
      throw new MillraceError(
        'PLAN_INVALID',
        `state '${TIMERS}' of '${name}': names that begin with $ are Millrace's own`,
      )
    const states = functions.onTimer ? { ...this.#states, [TIMERS]: timersState() } : this.#states
    const node: PlanNode = {
      kind: 'keyed',
      id: operatorId(name),
      name,
      inputs: [this.#input],
      states,
      functions,
      key: plainOf(this.#key),
      ...(broadcast ? { broadcast } : {}),
    }
    return new Stream<R, K>(this.#builder, this.#builder.add(node), this.#key)
  }
}

/** A stream and the operator state of its next operator. */
export interface OperatorStateStream<V, K, D extends StateDescriptors> {
  process<Out>(name: string, functions: OperatorStateFunction<V, K, D, Out>): Stream<Out, K>
}

/** A keyed stream with a broadcast stream beside it. */
export interface ConnectedStream<V, K, D extends StateDescriptors, R, RK, B extends StateDescriptors> {
  process<Out>(name: string, functions: ConnectedFunction<V, K, D, Out, R, RK, B>): Stream<Out, K>
}

/** What the `build` function of a pipeline gets. */
export class PipelineBuilder {
  readonly #graph = new GraphBuilder()

  /** Begins a stream at a source. */
  from<K, V>(name: string, source: SourceConnector<K, V>): Stream<V, K> {
    const id = operatorId(name)
    this.#graph.add({ kind: 'source', id, name, inputs: [], connector: source as never })
    return new Stream<V, K>(this.#graph, id, source.key as Serde<unknown>)
  }

  graph(): Graph {
    return this.#graph.graph()
  }
}

export type { DeepReadonly, ProcessContext }
