// The broadcast side of a keyed operator in one task: its state, how far its topic was read, and what the two functions see of it. The
// position is put into the state when the operator freezes: there is no barrier in a broadcast stream, its records lie before the one of
// the operator's own input or behind it, and a restored task goes on from just there (I2).
import type { OperatorId } from '../../base/ids.ts'
import {
  broadcastOperator,
  POSITION,
  type PositionState,
  type ReadonlyHandles,
  readonlyHandles,
  UNIT,
  unit,
  withPosition,
} from '../../state/broadcast.ts'
import type { StateDescriptors, StateHandles } from '../../state/descriptors.ts'
import type { TaskDisk } from '../../state/disk.ts'
import { frozenHandles } from '../../state/frozen.ts'
import { HeapStore } from '../../state/heap/store.ts'
import type { Serde } from '../../state/serde.ts'
import type { BroadcastPlace } from '../broadcast-hub.ts'

export class BroadcastSide {
  readonly store: HeapStore
  /** For the function that changes the state, and for the other one. */
  readonly handles: StateHandles<StateDescriptors>
  readonly reading: ReadonlyHandles<StateDescriptors>
  /** Where the task is in the topic. */
  place: () => BroadcastPlace | undefined = () => undefined

  constructor(operator: OperatorId, states: StateDescriptors, disk: TaskDisk | null, freezes: boolean) {
    const key = unit as Serde<unknown>
    this.store = new HeapStore(broadcastOperator(operator), withPosition(states), key, undefined, disk)
    this.handles = freezes ? frozenHandles(states, this.store.handles) : this.store.handles
    this.reading = readonlyHandles(states, this.handles)
  }

  get #position(): PositionState {
    return this.store.handles[POSITION] as PositionState
  }

  /** The state is there, under its one key. */
  restored(): void {
    this.store.setKey(UNIT)
  }

  /** What the state says; undefined: the topic was never read. */
  get noted(): BroadcastPlace | undefined {
    const position = this.#position.get()
    return position && { offset: BigInt(position.offset), leaderEpoch: position.leaderEpoch }
  }

  /** Before the state freezes. */
  notePlace(): void {
    const place = this.place()
    const offset = place?.offset.toString()
    if (!place || offset === undefined || this.#position.get()?.offset === offset) return
    this.#position.set({ offset, leaderEpoch: place.leaderEpoch })
  }
}
