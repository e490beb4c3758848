// asyncMap: calls that are under way at once, bounded, with a time limit and retries each. The barrier travels as an
// element of the queue: elements before it leave before it, elements behind it may start but are held; nothing of it
// enters the snapshot (after a restore the source replays them). Callbacks from outside only note the outcome and wake the
// task; results leave in `drain`, in the task's own turn.
import { delay, startTimer } from '../../base/clock.ts'
import { isCode, MillraceError, messageOf } from '../../base/errors.ts'
import type { CheckpointId, OperatorId } from '../../base/ids.ts'
import type { Buffering, Downstream } from '../element.ts'
import type { AsyncMapOptions, RecordContext } from '../functions.ts'
import type { StreamRecord } from '../record.ts'

interface Call {
  readonly kind: 'call'
  readonly record: StreamRecord
  outcome: 'waiting' | 'running' | 'done'
  result: unknown
}

type Entry = Call | { readonly kind: 'barrier'; readonly checkpoint: CheckpointId }

export class AsyncMapOperator implements Downstream, Buffering {
  readonly #id: OperatorId
  readonly #fn: (value: unknown, record: RecordContext, signal: AbortSignal) => Promise<unknown>
  readonly #options: Required<AsyncMapOptions>
  readonly #next: Downstream
  readonly #wake: () => void
  readonly #disposed = new AbortController()
  #queue: Entry[] = []
  #running = 0
  #nextToStart = 0
  #failure: MillraceError | undefined

  constructor(
    id: OperatorId,
    fn: (value: unknown, record: RecordContext, signal: AbortSignal) => Promise<unknown>,
    options: Required<AsyncMapOptions>,
    next: Downstream,
    wake: () => void,
  ) {
    this.#id = id
    this.#fn = fn
    this.#options = options
    this.#next = next
    this.#wake = wake
  }

  get full(): boolean {
    return this.#queue.length >= this.#options.capacity
  }

  get empty(): boolean {
    return this.#queue.length === 0
  }

  push(record: StreamRecord): void {
    this.#queue.push({ kind: 'call', record, outcome: 'waiting', result: undefined })
    this.#start()
  }

  barrier(checkpoint: CheckpointId): void {
    if (this.#queue.length === 0) this.#next.barrier(checkpoint)
    else this.#queue.push({ kind: 'barrier', checkpoint })
  }

  #start(): void {
    while (this.#running < this.#options.capacity && this.#nextToStart < this.#queue.length) {
      const entry = this.#queue[this.#nextToStart++]
      if (entry?.kind !== 'call') continue
      entry.outcome = 'running'
      this.#running++
      void this.#run(entry)
    }
  }

  async #run(call: Call): Promise<void> {
    const { attempts, delayMs } = this.#options.retry
    for (let attempt = 0; ; attempt++) {
      try {
        call.result = await this.#once(call.record)
        call.outcome = 'done'
        break
      } catch (error) {
        if (this.#disposed.signal.aborted) return
        // The record is at fault, not the call: another try would read the same bytes.
        if (isCode(error, 'DECODE_FAILED')) {
          this.#failure ??= error
          break
        }
        if (attempt < attempts) {
          await delay(delayMs, this.#disposed.signal)
          if (this.#disposed.signal.aborted) return
          continue
        }
        const text = `asyncMap '${this.#id}' failed at ${call.record.where} after ${attempt + 1} tries: ${messageOf(error)}`
        this.#failure ??= new MillraceError('ASYNC_FAILED', text, { cause: error })
        break
      }
    }
    if (this.#disposed.signal.aborted) return
    this.#running--
    this.#wake()
  }

  async #once(record: StreamRecord): Promise<unknown> {
    const controller = new AbortController()
    const stop = (): void => controller.abort()
    this.#disposed.signal.addEventListener('abort', stop, { once: true })
    let expire: (error: Error) => void = () => {}
    const limit = new Promise<never>((_, reject) => {
      expire = reject
    })
    const timer = startTimer(this.#options.timeoutMs, () => {
      controller.abort()
      expire(new Error(`no result in ${this.#options.timeoutMs} ms`))
    })
    try {
      return await Promise.race([this.#fn(record.value, record, controller.signal), limit])
    } finally {
      timer.cancel()
      this.#disposed.signal.removeEventListener('abort', stop)
    }
  }

  drain(): void {
    if (this.#failure) throw this.#failure
    if (this.#options.order === 'ordered') this.#drainOrdered()
    else this.#drainUnordered()
    this.#start()
  }

  #drainOrdered(): void {
    let ready = 0
    for (const entry of this.#queue) {
      if (entry.kind === 'call' && entry.outcome !== 'done') break
      ready++
    }
    if (ready === 0) return
    const leaving = this.#queue.splice(0, ready)
    this.#nextToStart = Math.max(0, this.#nextToStart - ready)
    for (const entry of leaving) this.#send(entry)
  }

  /** Results leave as they come, but only those before the first barrier; the barrier when it has become the head. */
  #drainUnordered(): void {
    for (;;) {
      const barrier = this.#queue.findIndex((entry) => entry.kind === 'barrier')
      const limit = barrier < 0 ? this.#queue.length : barrier
      const before = this.#queue.slice(0, limit)
      const leaving = before.filter((entry) => entry.kind === 'call' && entry.outcome === 'done')
      const staying = before.filter((entry) => entry.kind !== 'call' || entry.outcome !== 'done')
      this.#queue = [...staying, ...this.#queue.slice(limit)]
      this.#nextToStart = Math.max(0, this.#nextToStart - leaving.length)
      for (const entry of leaving) this.#send(entry)
      const head = this.#queue[0]
      if (head?.kind !== 'barrier') return
      this.#queue.shift()
      this.#nextToStart = Math.max(0, this.#nextToStart - 1)
      this.#send(head)
    }
  }

  #send(entry: Entry): void {
    if (entry.kind === 'barrier') return this.#next.barrier(entry.checkpoint)
    entry.record.setValue(entry.result)
    this.#next.push(entry.record)
  }

  /** Late results are ignored from here on. */
  dispose(): void {
    this.#disposed.abort()
    this.#queue = []
  }
}
