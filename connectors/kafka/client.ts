// Opens sockets to brokers: TCP, TLS and SASL are kafkajs's job, and this is the only file that imports it. What kafkajs
// opened and authenticated we take over (its request queue re-arms timers for ever, and its Fetch and Produce cost
// twice ours); every request then goes over `Connection`. See ARCHITECTURE.md, "Where this deviates from the usual".
import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import KafkaJsConnection from 'kafkajs/src/network/connection.js'
import socketFactory from 'kafkajs/src/network/socketFactory.js'
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

export interface OpenedSocket {
  readonly socket: Socket
  /** Lifetime of the SASL session in ms; 0: for ever. The socket must be replaced before. */
  readonly sessionLifetimeMs: number
}

const silent = { namespace: () => silent, info() {}, error() {}, warn() {}, debug() {} }
const HANDSHAKE_VERSIONS = { 17: { minVersion: 0, maxVersion: 1 }, 36: { minVersion: 0, maxVersion: 1 } }
const SOCKET_TIMEOUT_MS = 10_000

/** Opens and authenticates one socket. @throws KAFKA_AUTHENTICATION, KAFKA_CONNECTION_LOST */
export async function openSocket(
  host: string,
  port: number,
  clientId: string,
  options: ClientOptions,
): Promise<OpenedSocket> {
  const connection = new KafkaJsConnection({
    host,
    port,
    clientId,
    logger: silent,
    socketFactory: socketFactory(),
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
  return { socket, sessionLifetimeMs: Number(connection.sessionLifetime.toString()) }
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
