/**
 * A two-phase participant for tests: another system that keeps prepared transactions through our crashes. It lives in
 * the process of the test, the sink in the workers; they speak JSON lines over TCP, one request at a time.
 */
import { once } from 'node:events'
import { createServer, type Server, Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { TransactionHandle, TwoPhaseCommitSink, TwoPhaseSinkConnector } from 'millrace/connector'

interface Request {
  readonly verb: 'prepare' | 'commit' | 'abort-others'
  /** Operator and partition. */
  readonly owner: string
  readonly id: string
  readonly rows?: readonly string[]
  /** abort-others: what stays. */
  readonly keep?: readonly string[]
}

interface Prepared {
  readonly owner: string
  readonly rows: readonly string[]
  state: 'prepared' | 'committed' | 'aborted'
}

/** The other system: what is prepared stays until told; a decision, once made, is never changed. */
export class Participant implements AsyncDisposable {
  readonly transactions: Map<string, Prepared> = new Map()
  /** What broke the contract: a commit of something aborted, an abort of something committed. */
  readonly violations: string[] = []
  /** Called before each commit is carried out; false: the request gets no answer and no effect. */
  onCommit: (id: string) => boolean = () => true
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.#sockets.delete(socket))
      const lines = createInterface({ input: socket })
      lines.on('error', () => undefined)
      lines.on('line', (line) => {
        if (this.#apply(JSON.parse(line) as Request)) socket.write('ok\n')
      })
    })
  }

  static async start(): Promise<Participant> {
    const participant = new Participant()
    participant.#server.listen(0, '127.0.0.1')
    await once(participant.#server, 'listening')
    return participant
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** Rows of committed transactions, in the order of their preparation. */
  get committedRows(): string[] {
    return [...this.transactions.values()].flatMap(({ state, rows }) => (state === 'committed' ? rows : []))
  }

  get open(): string[] {
    return [...this.transactions].filter(([, { state }]) => state === 'prepared').map(([id]) => id)
  }

  #apply({ verb, owner, id, rows, keep }: Request): boolean {
    switch (verb) {
      case 'prepare':
        this.transactions.set(id, { owner, rows: rows ?? [], state: 'prepared' })
        return true
      case 'commit': {
        if (!this.onCommit(id)) return false
        const found = this.transactions.get(id)
        if (found && found.state !== 'aborted') found.state = 'committed'
        else this.violations.push(`commit of ${id}, which is ${found?.state ?? 'unknown'}`)
        return true
      }
      case 'abort-others':
        for (const [other, found] of this.transactions) {
          if (found.owner === owner && found.state === 'prepared' && !keep?.includes(other)) found.state = 'aborted'
        }
        return true
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** One task's end of it. */
class ParticipantSink implements TwoPhaseCommitSink<unknown, unknown> {
  readonly #port: number
  readonly #owner: string
  #rows: string[] = []
  #connection: { socket: Socket; lines: AsyncIterator<string> } | undefined

  constructor(port: number, owner: string) {
    this.#port = port
    this.#owner = owner
  }

  async #ask(request: Omit<Request, 'owner'>): Promise<void> {
    if (!this.#connection) {
      const socket = new Socket()
      socket.connect(this.#port, '127.0.0.1')
      await once(socket, 'connect')
      this.#connection = { socket, lines: createInterface({ input: socket })[Symbol.asyncIterator]() }
    }
    const { socket, lines } = this.#connection
    socket.write(`${JSON.stringify({ ...request, owner: this.#owner })}\n`)
    const { done } = await lines.next()
    if (done) throw new Error('the participant is gone')
  }

  async begin(): Promise<void> {
    this.#rows = []
  }

  write(value: unknown): void {
    this.#rows.push(JSON.stringify(value))
  }

  async prepare(checkpoint: bigint): Promise<TransactionHandle> {
    const id = `${this.#owner}@${checkpoint}-${process.pid}`
    await this.#ask({ verb: 'prepare', id, rows: this.#rows })
    return { id }
  }

  async commit(handle: TransactionHandle): Promise<void> {
    await this.#ask({ verb: 'commit', id: String(handle.id) })
  }

  async abort(): Promise<void> {
    this.#rows = []
  }

  async recover(committed: readonly TransactionHandle[]): Promise<void> {
    for (const handle of committed) await this.commit(handle)
    await this.#ask({ verb: 'abort-others', id: '', keep: committed.map((handle) => String(handle.id)) })
  }

  async close(): Promise<void> {
    this.#connection?.socket.destroy()
  }
}

export function participantSink<K, V>(port: number): TwoPhaseSinkConnector<K, V> {
  return {
    role: 'two-phase-sink',
    open: ({ operator, partition }) =>
      new ParticipantSink(port, `${operator}/${partition}`) as TwoPhaseCommitSink<K, V>,
  }
}
