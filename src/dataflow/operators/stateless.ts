// map, patch, filter, flatMap and fan-out: no state, no queue. A barrier passes through at once.
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import { JsonPatch } from '../../state/json-patch.ts'
import type { ColumnarBatch } from '../batch.ts'
import type { Downstream } from '../element.ts'
import type { RecordContext } from '../functions.ts'
import type { RecordOrigin, StreamRecord, TaskContext } from '../record.ts'

type UserFunction<Result> = (value: unknown, record: RecordContext) => Result

/** One user function; what it does with the result is the operator's kind. */
abstract class FunctionOperator<Result> implements Downstream {
  protected readonly id: OperatorId
  protected readonly context: TaskContext
  protected readonly fn: UserFunction<Result>
  protected readonly next: Downstream

  constructor(id: OperatorId, context: TaskContext, fn: UserFunction<Result>, next: Downstream) {
    this.id = id
    this.context = context
    this.fn = fn
    this.next = next
  }

  abstract push(record: StreamRecord): void

  prefetch(origin: RecordOrigin, batch: ColumnarBatch, from: number, to: number): void {
    this.next.prefetch?.(origin, batch, from, to)
  }

  barrier(checkpoint: CheckpointId): void {
    this.next.barrier(checkpoint)
  }
}

export class MapOperator extends FunctionOperator<unknown> {
  push(record: StreamRecord): void {
    this.context.current = this.id
    record.setValue(this.fn(record.value, record))
    this.next.push(record)
  }
}

export class PatchOperator extends FunctionOperator<unknown> {
  readonly #patch: JsonPatch

  constructor(
    id: OperatorId,
    context: TaskContext,
    fields: readonly string[],
    fn: UserFunction<unknown>,
    next: Downstream,
  ) {
    super(id, context, fn, next)
    this.#patch = new JsonPatch(fields)
  }

  push(record: StreamRecord): void {
    this.context.current = this.id
    record.patchValue(this.#patch, this.fn)
    this.next.push(record)
  }
}

export class FilterOperator extends FunctionOperator<boolean> {
  push(record: StreamRecord): void {
    this.context.current = this.id
    if (this.fn(record.value, record)) this.next.push(record)
  }
}

export class FlatMapOperator extends FunctionOperator<Iterable<unknown>> {
  push(record: StreamRecord): void {
    this.context.current = this.id
    for (const value of this.fn(record.value, record)) {
      this.next.push(record.withValue(value))
      this.context.current = this.id
    }
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
