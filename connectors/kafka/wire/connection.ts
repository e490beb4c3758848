// One socket to one broker: frames requests, matches responses by correlation id. A response is read into memory that
// is its alone until it is given back (batches keep views of it), with spare bytes behind it for readers that look ahead.

import type { Socket } from 'node:net'
import { bytesOf } from '../../../src/base/byte-writer.ts'
import { monotonicMs, startTimer, type Timer } from '../../../src/base/clock.ts'
import { MillraceError, messageOf } from '../../../src/base/errors.ts'
import { ApiVersions } from './cluster-requests.ts'
import { type Api, ProtocolReader, ProtocolWriter } from './primitives.ts'
import { takeFrame } from './response-memory.ts'

const RESPONSE_BYTES_MAX = 256 * 1024 * 1024
const SPARE_BYTES = 8
/** Less is read with what follows it. */
const ROOM_BYTES_MIN = 64 * 1024

export type VersionRanges = ReadonlyMap<number, { readonly min: number; readonly max: number }>

interface Pending {
  readonly api: string
  readonly flexible: boolean
  resolve(reader: ProtocolReader): void
  reject(error: Error): void
  readonly timer: Timer
}

export class Connection {
  readonly address: string
  /** On our monotonic clock: replace the connection after this instant (SASL session); Infinity: never. */
  readonly replaceAtMs: number
  readonly #socket: Socket
  readonly #clientId: string
  readonly #pending = new Map<number, Pending>()
  #versions: VersionRanges
  #correlation = 0
  #closedBy: Error | undefined
  #header = Buffer.allocUnsafe(4)
  #headerBytes = 0
  #frame: Buffer | undefined
  #frameBytes = 0
  #frameLength = 0

  constructor(socket: Socket, address: string, clientId: string, sessionLifetimeMs: number, versions: VersionRanges) {
    this.#socket = socket
    this.address = address
    this.#clientId = clientId
    this.#versions = versions
    // At 80 % of the session's lifetime: a request may be pending for a while, and the broker cuts without warning.
    this.replaceAtMs = sessionLifetimeMs > 0 ? monotonicMs() + sessionLifetimeMs * 0.8 : Number.POSITIVE_INFINITY
    socket.on('error', (error) => this.#fail(error))
    socket.on('end', () => this.#fail(new Error('closed by the broker')))
    socket.on('close', () => this.#fail(new Error('closed')))
  }

  get closed(): boolean {
    return this.#closedBy !== undefined
  }

  get inFlight(): number {
    return this.#pending.size
  }

  /** Asks the broker which versions it speaks; needed once per broker. */
  async negotiate(): Promise<VersionRanges> {
    const { ranges } = await this.send(ApiVersions, null, 10_000)
    this.#versions = ranges
    return ranges
  }

  /** The version that both sides speak. @throws KAFKA_TOO_OLD */
  version(api: Api<never, unknown>): number {
    if (api.key === ApiVersions.key) return 0
    const range = this.#versions.get(api.key)
    const version = Math.min(api.max, range?.max ?? -1)
    if (!range || version < api.min || range.min > version) {
      const offered = range ? `${range.min}–${range.max}` : 'none'
      throw new MillraceError(
        'KAFKA_TOO_OLD',
        `broker ${this.address} offers ${api.name} ${offered}, Millrace needs ${api.min}–${api.max}; use Kafka 3.0 or newer`,
      )
    }
    return version
  }

  /** Sends one request. A time-out means that its outcome is unknown; the connection is closed then. */
  async send<Request, Response>(api: Api<Request, Response>, request: Request, timeoutMs = 30_000): Promise<Response> {
    const version = this.version(api as unknown as Api<never, unknown>)
    const reader = await this.#exchange(api as unknown as Api<unknown, unknown>, request, version, timeoutMs)
    // The response's header ends with tags. Read here, so that malformed ones fail this request, not the socket's handler.
    reader.tags()
    return api.decode(reader, version)
  }

  #exchange(api: Api<unknown, unknown>, request: unknown, version: number, timeoutMs: number): Promise<ProtocolReader> {
    if (this.#closedBy) return Promise.reject(this.#lost(api.name))
    const flexible = version >= api.flexibleFrom
    const correlation = ++this.#correlation & 0x7fffffff
    const writer = new ProtocolWriter(512)
    writer.int32(0)
    writer.int16(api.key)
    writer.int16(version)
    writer.int32(correlation)
    writer.nullableString(this.#clientId)
    writer.flexible = flexible
    writer.tags()
    api.encode(writer, request, version)
    const parts = writer.parts()
    writer.buffer.writeInt32BE(bytesOf(parts) - 4, 0)
    return new Promise((resolve, reject) => {
      const timer = startTimer(timeoutMs, () => {
        this.#pending.delete(correlation)
        const text = `${api.name} to ${this.address} got no answer in ${timeoutMs} ms; its outcome is unknown`
        reject(new MillraceError('KAFKA_REQUEST_TIMEOUT', text))
        this.close()
      })
      this.#pending.set(correlation, { api: api.name, flexible, resolve, reject, timer })
      // One system call for all parts.
      this.#socket.cork()
      for (const part of parts) this.#socket.write(part)
      this.#socket.uncork()
    })
  }

  /** Where the socket may read to: the rest of a large response. */
  get room(): Buffer | null {
    const frame = this.#frame
    if (!frame || this.#frameLength - this.#frameBytes < ROOM_BYTES_MIN) return null
    return frame.subarray(this.#frameBytes, this.#frameLength)
  }

  /** The socket has read `length` bytes: into the response in hand, or to the beginning of `chunk`, whence they are copied. */
  receive(chunk: Buffer, length: number): void {
    let at = 0
    while (at < length) {
      if (!this.#frame) {
        const wanted = Math.min(4 - this.#headerBytes, length - at)
        chunk.copy(this.#header, this.#headerBytes, at, at + wanted)
        this.#headerBytes += wanted
        at += wanted
        if (this.#headerBytes < 4) return
        this.#frameLength = this.#header.readInt32BE(0)
        if (this.#frameLength < 4 || this.#frameLength > RESPONSE_BYTES_MAX) {
          return this.#fail(new Error(`a response of ${this.#frameLength} bytes: not a Kafka broker?`))
        }
        this.#frame = takeFrame(this.#frameLength + SPARE_BYTES)
        this.#frameBytes = 0
      }
      const wanted = Math.min(this.#frameLength - this.#frameBytes, length - at)
      if (chunk.buffer !== this.#frame.buffer) chunk.copy(this.#frame, this.#frameBytes, at, at + wanted)
      this.#frameBytes += wanted
      at += wanted
      if (this.#frameBytes < this.#frameLength) return
      const frame = this.#frame
      this.#frame = undefined
      this.#headerBytes = 0
      this.#answer(new ProtocolReader(frame, 0, this.#frameLength))
    }
  }

  #answer(reader: ProtocolReader): void {
    const correlation = reader.int32()
    const pending = this.#pending.get(correlation)
    if (!pending) return
    this.#pending.delete(correlation)
    pending.timer.cancel()
    reader.flexible = pending.flexible
    pending.resolve(reader)
  }

  #lost(api: string): MillraceError {
    const text = `${api} to ${this.address}: connection lost (${messageOf(this.#closedBy)})`
    return new MillraceError('KAFKA_CONNECTION_LOST', text, { cause: this.#closedBy })
  }

  #fail(error: Error): void {
    if (this.#closedBy) return
    this.#closedBy = error
    this.#socket.destroy()
    for (const pending of this.#pending.values()) {
      pending.timer.cancel()
      pending.reject(this.#lost(pending.api))
    }
    this.#pending.clear()
  }

  close(): void {
    this.#fail(new Error('closed by us'))
  }
}
