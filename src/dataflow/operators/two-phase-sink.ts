// The end of a chain on another system: a TwoPhaseCommitSink of one operator and task. Its handle is prepared at the
// barrier, stored in the checkpoint file, and committed only after the worker's own transaction (the last agent).
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import type { Buffering, Downstream } from '../element.ts'
import type { TransactionHandle, TwoPhaseCommitSink } from '../ports.ts'
import type { StreamRecord, TaskContext } from '../record.ts'

export class TwoPhaseSinkOperator implements Downstream, Buffering {
  readonly id: OperatorId
  readonly sink: TwoPhaseCommitSink
  readonly #context: TaskContext
  readonly #onBarrier: (checkpoint: CheckpointId) => void
  readonly #heldMax: number
  /** Records behind the barrier wait until the next transaction is begun. */
  #held: StreamRecord[] = []
  #preparing: Promise<TransactionHandle> | undefined
  #wrote = false
  #disposed = false

  constructor(
    id: OperatorId,
    context: TaskContext,
    sink: TwoPhaseCommitSink,
    heldMax: number,
    onBarrier: (checkpoint: CheckpointId) => void,
  ) {
    this.id = id
    this.sink = sink
    this.#context = context
    this.#heldMax = heldMax
    this.#onBarrier = onBarrier
  }

  get full(): boolean {
    return this.#held.length >= this.#heldMax || this.sink.full === true
  }

  get empty(): boolean {
    return this.#held.length === 0
  }

  /** What is held goes on when the handle is there: nothing to do between turns. */
  drain(): void {}

  get hasWrites(): boolean {
    return this.#wrote
  }

  push(record: StreamRecord): void {
    if (this.#preparing) {
      this.#held.push(record)
      return
    }
    this.#context.current = this.id
    this.#wrote = true
    this.sink.write(record.value, record)
  }

  barrier(checkpoint: CheckpointId): void {
    this.#preparing = this.#prepare(checkpoint)
    // The ack awaits the same promise and reports its failure; this handler only keeps it from being "unhandled" before.
    this.#preparing.catch(() => undefined)
    this.#onBarrier(checkpoint)
  }

  async #prepare(checkpoint: CheckpointId): Promise<TransactionHandle> {
    const handle = await this.sink.prepare(checkpoint)
    if (!this.#disposed) await this.sink.begin()
    return handle
  }

  /** The handle of the barrier that passed. Records held behind it are written when it is there. */
  async prepared(): Promise<TransactionHandle> {
    const handle = await this.#preparing
    this.#preparing = undefined
    this.#wrote = false
    const held = this.#held
    this.#held = []
    for (const record of held) this.push(record)
    return handle ?? {}
  }

  /** The attempt is over: a prepare under way ends first, so that it cannot land behind the successor's recovery. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#held = []
    await this.#preparing?.catch(() => undefined)
  }
}
