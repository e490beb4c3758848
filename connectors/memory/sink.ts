// A two-phase commit sink whose other system is an object in memory: the reference of the contract, and the model for sinks
// on real systems. The ledger outlives the writers, as a database outlives its clients.
import { MillraceError } from '../../src/base/errors.ts'
import type { CheckpointId } from '../../src/base/ids.ts'
import type { TransactionHandle, TwoPhaseCommitSink, TwoPhaseSinkConnector } from '../../src/dataflow/ports.ts'

interface Transaction {
  /** Operator and partition: what `recover` may abort. */
  readonly owner: string
  readonly values: unknown[]
  phase: 'open' | 'prepared' | 'committed' | 'aborted'
}

/** The other system: transactions by name, and what is visible. */
export class MemoryLedger {
  readonly #transactions = new Map<string, Transaction>()
  readonly #visible: unknown[] = []
  #names = 0

  /** Committed values, in the order of their commits. */
  get visible(): readonly unknown[] {
    return this.#visible
  }

  /** Names of the transactions that are neither committed nor aborted. */
  get pending(): readonly string[] {
    return [...this.#transactions].flatMap(([name, { phase }]) =>
      phase === 'open' || phase === 'prepared' ? [name] : [],
    )
  }

  begin(owner: string): string {
    const name = `${owner}#${this.#names++}`
    this.#transactions.set(name, { owner, values: [], phase: 'open' })
    return name
  }

  write(name: string, value: unknown): void {
    this.#in(name, 'open').values.push(value)
  }

  prepare(name: string): void {
    this.#in(name, 'open').phase = 'prepared'
  }

  /** A second commit changes nothing. */
  commit(name: string): void {
    const transaction = this.#transactions.get(name)
    if (transaction?.phase === 'committed') return
    const { values } = this.#in(name, 'prepared')
    this.#visible.push(...values)
    this.#in(name, 'prepared').phase = 'committed'
  }

  /** A second abort changes nothing; what is committed cannot be aborted. */
  abort(name: string): void {
    const transaction = this.#transactions.get(name)
    if (!transaction || transaction.phase === 'aborted') return
    if (transaction.phase === 'committed') throw lost(`transaction ${name} is committed and cannot be aborted`)
    transaction.phase = 'aborted'
    transaction.values.length = 0
  }

  pendingOf(owner: string): string[] {
    return this.pending.filter((name) => this.#transactions.get(name)?.owner === owner)
  }

  #in(name: string, phase: Transaction['phase']): Transaction {
    const transaction = this.#transactions.get(name)
    if (transaction?.phase === phase) return transaction
    throw lost(`transaction ${name} is ${transaction?.phase ?? 'unknown'}, not ${phase}`)
  }
}

function lost(text: string): MillraceError {
  return new MillraceError('TRANSACTION_FAILED', `ledger in memory: ${text}`)
}

class MemorySink implements TwoPhaseCommitSink {
  readonly #ledger: MemoryLedger
  readonly #owner: string
  #open: string | undefined

  constructor(ledger: MemoryLedger, owner: string) {
    this.#ledger = ledger
    this.#owner = owner
  }

  async begin(): Promise<void> {
    this.#open ??= this.#ledger.begin(this.#owner)
  }

  write(value: unknown): void {
    if (this.#open === undefined) throw lost('a write before begin')
    this.#ledger.write(this.#open, value)
  }

  async prepare(checkpoint: CheckpointId): Promise<TransactionHandle> {
    if (this.#open === undefined) throw lost(`prepare of checkpoint ${checkpoint} before begin`)
    const name = this.#open
    this.#open = undefined
    this.#ledger.prepare(name)
    return { name, checkpoint: checkpoint.toString() }
  }

  async commit(handle: TransactionHandle): Promise<void> {
    this.#ledger.commit(String(handle.name))
  }

  async abort(handle?: TransactionHandle): Promise<void> {
    if (handle) return this.#ledger.abort(String(handle.name))
    if (this.#open !== undefined) this.#ledger.abort(this.#open)
    this.#open = undefined
  }

  async recover(committed: readonly TransactionHandle[]): Promise<void> {
    for (const handle of committed) this.#ledger.commit(String(handle.name))
    for (const name of this.#ledger.pendingOf(this.#owner)) this.#ledger.abort(name)
    this.#open = undefined
  }

  async close(): Promise<void> {
    await this.abort()
  }
}

/** A sink that writes values into a ledger. @example stream.to('ledger', memorySink(new MemoryLedger())) */
export function memorySink<K, V>(ledger: MemoryLedger): TwoPhaseSinkConnector<K, V> {
  return {
    role: 'two-phase-sink',
    open: ({ pipeline, operator, partition }) => new MemorySink(ledger, `${pipeline}/${operator}/${partition}`),
  }
}
