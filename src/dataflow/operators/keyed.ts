// A keyed operator: the user's function with the state of the record's key.
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import type { StateDescriptors, StateHandles } from '../../state/descriptors.ts'
import type { HeapStore } from '../../state/heap/store.ts'
import type { Downstream } from '../element.ts'
import type { OperatorFunctions, ProcessContext } from '../functions.ts'
import type { StreamRecord, TaskContext } from '../record.ts'

/** What the function sees; one object per operator, valid during a call. */
class Context implements ProcessContext<unknown, StateDescriptors, unknown> {
  key: unknown
  readonly state: StateHandles<StateDescriptors>
  record!: StreamRecord
  readonly #operator: OperatorId
  readonly #task: TaskContext
  readonly #next: Downstream

  constructor(operator: OperatorId, task: TaskContext, state: StateHandles<StateDescriptors>, next: Downstream) {
    this.#operator = operator
    this.#task = task
    this.state = state
    this.#next = next
  }

  /** An own property, because users destructure it. */
  readonly emit = (value: unknown): void => {
    this.#next.push(this.record.withValue(value))
    this.#task.current = this.#operator
  }
}

export class KeyedOperator implements Downstream {
  readonly id: OperatorId
  readonly store: HeapStore
  readonly #functions: OperatorFunctions
  readonly #task: TaskContext
  readonly #context: Context
  readonly #next: Downstream
  readonly #onBarrier: () => void

  /** `onBarrier`: the aligned barrier is here, freeze the state before it is passed on. */
  constructor(
    id: OperatorId,
    task: TaskContext,
    store: HeapStore,
    functions: OperatorFunctions,
    next: Downstream,
    onBarrier: (operator: KeyedOperator) => void,
  ) {
    this.id = id
    this.store = store
    this.#functions = functions
    this.#task = task
    this.#next = next
    this.#context = new Context(id, task, store.handles, next)
    this.#onBarrier = () => onBarrier(this)
  }

  open(): void {
    this.#task.current = this.id
    this.#functions.open?.()
  }

  close(): void {
    this.#task.current = this.id
    this.#functions.close?.()
  }

  push(record: StreamRecord): void {
    this.#task.current = this.id
    const key = record.key
    this.store.setKey(key)
    this.#context.key = key
    this.#context.record = record
    this.#functions.onRecord(record.value, this.#context)
  }

  barrier(checkpoint: CheckpointId): void {
    this.#onBarrier()
    this.#next.barrier(checkpoint)
  }
}
