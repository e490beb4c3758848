/**
 * A proxy between workers and one broker that can lose answers: it follows the correlation ids of the requests that pass
 * and knows which answer belongs to which request. An answer that is lost takes the connection with it, as in a crash of
 * the network: the request was carried out, and nobody was told.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export const END_TXN = 26

export class TcpProxy implements AsyncDisposable {
  /** Asked for each answer, by the API key of its request. */
  loses: (apiKey: number) => boolean = () => false
  lost = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(target: string) {
    const [host, port] = target.split(':')
    this.#server = createServer((client) => {
      const broker = connect(Number(port), host)
      this.#pair(client, broker)
    })
  }

  static async start(target: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get address(): string {
    const address = this.#server.address()
    return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  }

  #pair(client: Socket, broker: Socket): void {
    const apis = new Map<number, number>()
    const cut = (): void => {
      client.destroy()
      broker.destroy()
    }
    for (const socket of [client, broker]) {
      this.#sockets.add(socket)
      socket.on('error', cut)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        cut()
      })
    }
    // Request: api key (int16), version (int16), correlation id (int32); answer: correlation id.
    const requests = frames((frame) => {
      apis.set(frame.readInt32BE(8), frame.readInt16BE(4))
      broker.write(frame)
    })
    const answers = frames((frame) => {
      const correlation = frame.readInt32BE(4)
      const api = apis.get(correlation) ?? -1
      apis.delete(correlation)
      if (this.loses(api)) {
        this.lost++
        cut()
      } else if (!client.destroyed) client.write(frame)
    })
    client.on('data', requests)
    broker.on('data', answers)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Cuts a byte stream into frames, each with its four bytes of length. */
function frames(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      onFrame(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}
