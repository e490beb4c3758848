// Builds the operators of one task from the stage's nodes: source to sink by direct calls, with a gate where streams meet.
import { MillraceError } from '../base/errors.ts'
import type { CheckpointId, OperatorId } from '../base/ids.ts'
import type { TaskDisk } from '../state/disk.ts'
import { frozenHandles } from '../state/frozen.ts'
import { HeapStore } from '../state/heap/store.ts'
import type { Serde } from '../state/serde.ts'
import type { Buffering, Downstream } from './element.ts'
import type { NodeOf, PlanNode, StatelessNode } from './graph.ts'
import { AsyncMapOperator } from './operators/async-map.ts'
import { BroadcastSide } from './operators/broadcast-side.ts'
import { InputGate } from './operators/input-gate.ts'
import { KeyedOperator } from './operators/keyed.ts'
import { FanOut, FilterOperator, FlatMapOperator, MapOperator, PatchOperator } from './operators/stateless.ts'
import { TopicSinkOperator } from './operators/topic-sink.ts'
import { TwoPhaseSinkOperator } from './operators/two-phase-sink.ts'
import type { PartitionWriter, TwoPhaseCommitSink, TwoPhaseSinkConnector } from './ports.ts'
import type { TaskContext } from './record.ts'

/** A hop as the chain in front of it sees it. */
export interface HopTarget {
  readonly topic: string
  readonly value: Serde<unknown>
}

export interface ChainEnvironment {
  readonly mode: 'exactly-once' | 'at-least-once'
  readonly channelCapacityRecords: number
  readonly context: TaskContext
  readonly hops: ReadonlyMap<OperatorId, HopTarget>
  /** null: keyed state is on the heap. */
  readonly disk: TaskDisk | null
  /** What is in state cannot be changed in place: for tests of pipelines. */
  readonly freezes?: boolean
  writer(topic: string): PartitionWriter
  openTwoPhase(operator: string, connector: TwoPhaseSinkConnector<unknown, unknown>): TwoPhaseCommitSink
  /** Something asynchronous became ready. */
  wake(): void
  /** A keyed operator has the aligned barrier: its state freezes. */
  onFreeze(operator: KeyedOperator): void
  /** A terminal operator has the barrier. */
  onTerminal(checkpoint: CheckpointId): void
}

export interface Chain {
  /** Where the records of each source operator go in. */
  readonly entries: ReadonlyMap<OperatorId, Downstream>
  readonly keyed: readonly KeyedOperator[]
  readonly buffering: readonly Buffering[]
  readonly asyncMaps: readonly AsyncMapOperator[]
  readonly twoPhase: readonly TwoPhaseSinkOperator[]
  readonly terminals: number
}

export function buildChain(
  nodes: readonly PlanNode[],
  sources: readonly OperatorId[],
  environment: ChainEnvironment,
): Chain {
  const builder = new ChainBuilder(nodes, environment)
  return builder.build(sources)
}

function statelessOperator(node: StatelessNode, context: TaskContext, next: Downstream): Downstream {
  switch (node.kind) {
    case 'map':
      return new MapOperator(node.id, context, node.fn, next)
    case 'patch':
      return new PatchOperator(node.id, context, node.fields, node.fn, next)
    case 'filter':
      return new FilterOperator(node.id, context, node.fn, next)
    case 'flat-map':
      return new FlatMapOperator(node.id, context, node.fn, next)
  }
}

/** The way of a broadcast stream to its operator. */
export function buildPath(path: readonly StatelessNode[], context: TaskContext, end: Downstream): Downstream {
  return path.reduceRight((next, node) => statelessOperator(node, context, next), end)
}

class ChainBuilder {
  readonly #nodes: readonly PlanNode[]
  readonly #environment: ChainEnvironment
  readonly #gates = new Map<OperatorId, InputGate>()
  readonly #keyed: KeyedOperator[] = []
  readonly #buffering: Buffering[] = []
  readonly #asyncMaps: AsyncMapOperator[] = []
  readonly #twoPhase: TwoPhaseSinkOperator[] = []
  #terminals = 0

  constructor(nodes: readonly PlanNode[], environment: ChainEnvironment) {
    this.#nodes = nodes
    this.#environment = environment
  }

  build(sources: readonly OperatorId[]): Chain {
    const entries = new Map(sources.map((source) => [source, this.#after(source)] as const))
    return {
      entries,
      keyed: this.#keyed,
      buffering: this.#buffering,
      asyncMaps: this.#asyncMaps,
      twoPhase: this.#twoPhase,
      terminals: this.#terminals,
    }
  }

  /** What follows an operator: one consumer, or a fan-out of several. */
  #after(id: OperatorId): Downstream {
    const consumers = this.#nodes.flatMap((node) => node.inputs.filter((input) => input === id).map(() => node))
    const branches = consumers.map((node) => this.#operator(node))
    const [only] = branches
    if (only && branches.length === 1) return only
    return new FanOut(branches)
  }

  #operator(node: PlanNode): Downstream {
    const { context } = this.#environment
    switch (node.kind) {
      case 'map':
      case 'patch':
      case 'filter':
      case 'flat-map':
        return statelessOperator(node, context, this.#after(node.id))
      case 'key-by-record-key':
        return this.#after(node.id)
      case 'union':
        return this.#gate(node.id).input()
      case 'async-map':
        return this.#asyncMap(node)
      case 'keyed':
        return this.#keyedOperator(node)
      case 'key-by':
        return this.#hop(node)
      case 'sink':
        return this.#sink(node)
      case 'source':
        throw new MillraceError('PLAN_INVALID', `source '${node.name}' has an input`)
    }
  }

  /** Behind an operator with a queue the record in hand is not the one being read: an error must name the right one. */
  #released(next: Downstream): Downstream {
    const { context } = this.#environment
    return {
      push(record) {
        context.released = record
        next.push(record)
      },
      barrier: (checkpoint) => next.barrier(checkpoint),
    }
  }

  #gate(id: OperatorId): InputGate {
    const existing = this.#gates.get(id)
    if (existing) return existing
    const { mode, channelCapacityRecords } = this.#environment
    const gate = new InputGate(mode, channelCapacityRecords, this.#released(this.#after(id)))
    this.#gates.set(id, gate)
    this.#buffering.push(gate)
    return gate
  }

  #asyncMap(node: NodeOf<'async-map'>): Downstream {
    const operator = new AsyncMapOperator(
      node.id,
      node.fn,
      node.options,
      this.#released(this.#after(node.id)),
      this.#environment.wake,
    )
    this.#buffering.push(operator)
    this.#asyncMaps.push(operator)
    return operator
  }

  #keyedOperator(node: NodeOf<'keyed'>): Downstream {
    const { context, disk, onFreeze, freezes = false } = this.#environment
    const store = new HeapStore(node.id, node.states, node.key, undefined, disk)
    const broadcast = node.broadcast && new BroadcastSide(node.id, node.broadcast.states, disk, freezes)
    const operator = new KeyedOperator(node.id, context, store, node.functions, this.#after(node.id), {
      onBarrier: onFreeze,
      broadcast: broadcast ?? null,
      perTask: node.perTask === true,
      handles: freezes ? frozenHandles(node.states, store.handles) : store.handles,
    })
    this.#keyed.push(operator)
    return operator
  }

  #hop(node: NodeOf<'key-by'>): Downstream {
    const { context, hops, onTerminal } = this.#environment
    const target = hops.get(node.id)
    if (!target) throw new MillraceError('PLAN_INVALID', `keyBy '${node.name}' has no repartition topic`)
    this.#terminals++
    const settings = { key: node.key, value: target.value, topic: target.topic, keyOf: node.fn as never }
    const writers = new Map([[target.topic, this.#environment.writer(target.topic)]])
    return new TopicSinkOperator(node.id, context, settings, writers, onTerminal)
  }

  #sink(node: NodeOf<'sink'>): Downstream {
    const { context, onTerminal, openTwoPhase, channelCapacityRecords } = this.#environment
    const { connector } = node
    this.#terminals++
    if (connector.role === 'two-phase-sink') {
      const sink = openTwoPhase(node.id, connector)
      const operator = new TwoPhaseSinkOperator(node.id, context, sink, channelCapacityRecords, onTerminal)
      this.#buffering.push(operator)
      this.#twoPhase.push(operator)
      return operator
    }
    const writers = new Map(connector.topics.map((topic) => [topic, this.#environment.writer(topic)]))
    const settings = { ...connector, topic: connector.topics[0] ?? '' }
    return new TopicSinkOperator(node.id, context, settings as never, writers, onTerminal)
  }
}
