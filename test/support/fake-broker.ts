/**
 * Brokers that are none: one from before Kafka 3.0, as far as a first contact sees it (it answers ApiVersions without the
 * requests that came with 3.0, and nothing else), and one that accepts connections and never says a word.
 */
import { createServer, type Server, type Socket } from 'node:net'

const API_VERSIONS = 18
/** Kafka 2.8 has no DescribeProducers (61), DescribeTransactions (65), ListTransactions (66). */
const OFFERED_BELOW = 61
/** High enough for all that we ask of the others. */
const VERSION_MAX = 13

export class FakeBroker implements AsyncDisposable {
  readonly address: string
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server
    this.#sockets = sockets
    const { port } = server.address() as { port: number }
    this.address = `127.0.0.1:${port}`
  }

  /** `silent`: accepts connections and never says a word. */
  static async start(how: 'old' | 'silent'): Promise<FakeBroker> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
      if (how === 'old') answer(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new FakeBroker(server, sockets)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

function answer(socket: Socket): void {
  let bytes = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
      const frame = bytes.subarray(4, 4 + bytes.readInt32BE(0))
      bytes = bytes.subarray(4 + frame.length)
      if (frame.readInt16BE(0) !== API_VERSIONS) return void socket.destroy()
      const body = apiVersions()
      const header = Buffer.alloc(8)
      header.writeInt32BE(4 + body.length, 0)
      header.writeInt32BE(frame.readInt32BE(4), 4)
      socket.write(Buffer.concat([header, body]))
    }
  })
}

function apiVersions(): Buffer {
  const rows = Array.from({ length: OFFERED_BELOW }, (_, key) => {
    const row = Buffer.alloc(6)
    row.writeInt16BE(key, 0)
    row.writeInt16BE(VERSION_MAX, 4)
    return row
  })
  const head = Buffer.alloc(6)
  head.writeInt32BE(rows.length, 2)
  return Buffer.concat([head, ...rows])
}
