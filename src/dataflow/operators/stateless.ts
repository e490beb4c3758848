// map, filter, flatMap and fan-out: no state, no queue. A barrier passes through at once.
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import type { ColumnarBatch } from '../batch.ts'
import type { Downstream } from '../element.ts'
import type { RecordContext } from '../functions.ts'
import type { RecordOrigin, StreamRecord, TaskContext } from '../record.ts'

export class MapOperator implements Downstream {
  readonly #id: OperatorId
  readonly #context: TaskContext
  readonly #fn: (value: unknown, record: RecordContext) => unknown
  readonly #next: Downstream

  constructor(
    id: OperatorId,
    context: TaskContext,
    fn: (value: unknown, record: RecordContext) => unknown,
    next: Downstream,
  ) {
    this.#id = id
    this.#context = context
    this.#fn = fn
    this.#next = next
  }

  push(record: StreamRecord): void {
    this.#context.current = this.#id
    record.setValue(this.#fn(record.value, record))
    this.#next.push(record)
  }

  prefetch(origin: RecordOrigin, batch: ColumnarBatch, from: number, to: number): void {
    this.#next.prefetch?.(origin, batch, from, to)
  }

  barrier(checkpoint: CheckpointId): void {
    this.#next.barrier(checkpoint)
  }
}

export class FilterOperator implements Downstream {
  readonly #id: OperatorId
  readonly #context: TaskContext
  readonly #fn: (value: unknown, record: RecordContext) => boolean
  readonly #next: Downstream

  constructor(
    id: OperatorId,
    context: TaskContext,
    fn: (value: unknown, record: RecordContext) => boolean,
    next: Downstream,
  ) {
    this.#id = id
    this.#context = context
    this.#fn = fn
    this.#next = next
  }

  push(record: StreamRecord): void {
    this.#context.current = this.#id
    if (this.#fn(record.value, record)) this.#next.push(record)
  }

  prefetch(origin: RecordOrigin, batch: ColumnarBatch, from: number, to: number): void {
    this.#next.prefetch?.(origin, batch, from, to)
  }

  barrier(checkpoint: CheckpointId): void {
    this.#next.barrier(checkpoint)
  }
}

export class FlatMapOperator implements Downstream {
  readonly #id: OperatorId
  readonly #context: TaskContext
  readonly #fn: (value: unknown, record: RecordContext) => Iterable<unknown>
  readonly #next: Downstream

  constructor(
    id: OperatorId,
    context: TaskContext,
    fn: (value: unknown, record: RecordContext) => Iterable<unknown>,
    next: Downstream,
  ) {
    this.#id = id
    this.#context = context
    this.#fn = fn
    this.#next = next
  }

  push(record: StreamRecord): void {
    this.#context.current = this.#id
    for (const value of this.#fn(record.value, record)) {
      this.#next.push(record.withValue(value))
      this.#context.current = this.#id
    }
  }

  barrier(checkpoint: CheckpointId): void {
    this.#next.barrier(checkpoint)
  }
}

/** One stream into several: each branch but the last gets a copy, because operators change records in place. */
export class FanOut implements Downstream {
  readonly #branches: readonly Downstream[]

  constructor(branches: readonly Downstream[]) {
    this.#branches = branches
  }

  push(record: StreamRecord): void {
    const last = this.#branches.length - 1
    for (let i = 0; i < last; i++) this.#branches[i]?.push(record.clone())
    this.#branches[last]?.push(record)
  }

  barrier(checkpoint: CheckpointId): void {
    for (const branch of this.#branches) branch.barrier(checkpoint)
  }
}
