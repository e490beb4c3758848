// Opens sockets to brokers: TCP, TLS and SASL are kafkajs's job, and this is the only file that imports it. What kafkajs
// opened and authenticated we take over (its request queue re-arms timers for ever, and its Fetch and Produce cost
// twice ours); every request then goes over `Connection`. See ARCHITECTURE.md, "Where this deviates from the usual".
import { isIP, connect as netConnect, type Socket } from 'node:net'
import { type ConnectionOptions as TlsOptions, connect as tlsConnect } from 'node:tls'
import KafkaJsConnection from 'kafkajs/src/network/connection.js'
import { type ErrorCode, MillraceError, messageOf } from '../../src/base/errors.ts'

/** SASL mechanisms that kafkajs speaks and we test. */
export interface SaslOptions {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly username: string
  readonly password: string
}

export interface ClientOptions {
  /** `host:port` of some brokers of the cluster; the others are found. */
  readonly brokers: readonly string[]
  /** `true`: TLS with the system's authorities; or Node's TLS options (`ca`, `cert`, `key`, …). Default: none. */
  readonly ssl?: boolean | TlsOptions
  readonly sasl?: SaslOptions
  /** How long the first contact may take, in ms. Default 30 000. */
  readonly connectTimeoutMs?: number
  /** Where to reach a broker that advertises `host:port`: for tunnels, port forwards and proxies. Default: right there. */
  readonly translateAddress?: (address: string) => string
}

/** Who gets what a socket reads. */
export interface Receiver {
  /** Where the next bytes may go right away; null: anywhere. */
  readonly room: Buffer | null
  /** `length` bytes are there: in what `room` was, or at the beginning of `chunk`, which is used again afterwards. */
  receive(chunk: Buffer, length: number): void
}

export interface OpenedSocket {
  readonly socket: Socket
  /** From now on it gets what arrives. */
  readonly deliverTo: (receiver: Receiver) => void
  /** Lifetime of the SASL session in ms; 0: for ever. The socket must be replaced before. */
  readonly sessionLifetimeMs: number
}

const silent = { namespace: () => silent, info() {}, error() {}, warn() {}, debug() {} }
const HANDSHAKE_VERSIONS = { 17: { minVersion: 0, maxVersion: 1 }, 36: { minVersion: 0, maxVersion: 1 } }
const SOCKET_TIMEOUT_MS = 10_000
const KEEP_ALIVE_MS = 60_000
interface SocketOrder {
  readonly host: string
  readonly port: number
  readonly ssl: TlsOptions | null
  readonly onConnect: () => void
}

/** Sockets are read into it (Node's `onread`) or into a large response: a buffer per read made the collector run at full speed. */
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024)

class Reading {
  #receiver: Receiver | undefined

  deliverTo = (receiver: Receiver): void => {
    this.#receiver = receiver
  }

  connect = ({ host, port, ssl, onConnect }: SocketOrder): Socket => {
    const callback = (length: number, chunk: Uint8Array): boolean => {
      if (this.#receiver) this.#receiver.receive(chunk as Buffer, length)
      // kafkajs has it during the handshake, and keeps what it gets.
      else socket.emit('data', Buffer.from(chunk.subarray(0, length)))
      return true
    }
    const buffer = (): Buffer => this.#receiver?.room ?? readBuffer
    const place = { host, port, onread: { buffer, callback } }
    const socket: Socket = ssl
      ? tlsConnect({ ...place, ...(isIP(host) ? {} : { servername: host }), ...ssl }, onConnect)
      : netConnect(place, onConnect)
    return socket.setKeepAlive(true, KEEP_ALIVE_MS)
  }
}

/** Opens and authenticates one socket. @throws KAFKA_AUTHENTICATION, KAFKA_CONNECTION_LOST */
export async function openSocket(
  host: string,
  port: number,
  clientId: string,
  options: ClientOptions,
): Promise<OpenedSocket> {
  const reading = new Reading()
  const connection = new KafkaJsConnection({
    host,
    port,
    clientId,
    logger: silent,
    socketFactory: reading.connect,
    requestTimeout: SOCKET_TIMEOUT_MS,
    connectionTimeout: SOCKET_TIMEOUT_MS,
    ssl: options.ssl === true ? {} : options.ssl || null,
    sasl: options.sasl ? { ...options.sasl } : null,
  })
  // Nothing is throttled in a handshake; kafkajs would arm a timer with a negative delay, and Node would warn of it.
  connection.requestQueue.scheduleCheckPendingRequests = () => {}
  connection.setVersions(HANDSHAKE_VERSIONS)
  connection.setSupportAuthenticationProtocol(true)
  try {
    await connection.connect()
    await connection.authenticate()
  } catch (error) {
    connection.requestQueue.destroy()
    connection.socket?.destroy()
    throw new MillraceError(classify(error), `${host}:${port}: ${messageOf(error)}`, { cause: error })
  }
  const socket = connection.socket
  if (!socket) throw new MillraceError('KAFKA_CONNECTION_LOST', `${host}:${port} closed the connection while it opened`)
  connection.requestQueue.destroy()
  for (const event of ['data', 'end', 'error', 'timeout'] as const) removeKafkaJsListeners(socket, event)
  connection.socket = null
  socket.setNoDelay(true)
  return { socket, deliverTo: reading.deliverTo, sessionLifetimeMs: Number(connection.sessionLifetime.toString()) }
}

/** Node's own `end` listener (its name is `onReadableStreamEnd`) stays: without it half-closed sockets linger. */
function removeKafkaJsListeners(socket: Socket, event: 'data' | 'end' | 'error' | 'timeout'): void {
  for (const listener of socket.listeners(event)) {
    if (listener.name !== 'onReadableStreamEnd') socket.off(event, listener as () => void)
  }
}

function classify(error: unknown): ErrorCode {
  const { name, code } = error as { name?: string; code?: string }
  if (name === 'KafkaJSSASLAuthenticationError') return 'KAFKA_AUTHENTICATION'
  if (code && /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|EPROTO)/.test(code))
    return 'KAFKA_AUTHENTICATION'
  return 'KAFKA_CONNECTION_LOST'
}
