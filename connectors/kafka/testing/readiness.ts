// Is a broker able to serve? One raw ApiVersions and one raw Metadata request over plain TCP, so that the broker kit
// needs no Kafka client.
import { Socket } from 'node:net'

/** What one broker says of its cluster. `brokerIds` holds the registered brokers that are not fenced. */
export interface ClusterView {
  readonly controllerId: number
  readonly brokerIds: readonly number[]
}

const apiVersions = { key: 18, version: 0 }
const metadata = { key: 3, version: 1 }

/**
 * Asks a plaintext listener for ApiVersions, then Metadata of no topics.
 *
 * @throws any socket error, or `AbortError`/`TimeoutError` after `timeoutMs` (default 3000): the broker is not ready.
 */
export async function askCluster(host: string, port: number, timeoutMs: number = 3000): Promise<ClusterView> {
  const socket = new Socket({ signal: AbortSignal.timeout(timeoutMs) })
  socket.connect({ host, port })
  try {
    const frames = readFrames(socket)
    socket.write(request(apiVersions, 1, Buffer.alloc(0)))
    const versions = await nextFrame(frames)
    const errorCode = versions.readInt16BE(4)
    if (errorCode !== 0) throw new Error(`ApiVersions answered error ${errorCode}`)
    socket.write(request(metadata, 2, Buffer.alloc(4)))
    return parseMetadata(await nextFrame(frames))
  } finally {
    socket.destroy()
  }
}

/** True once `nodeId` itself is registered and unfenced and all of `brokerIds` are seen by it. False on any failure. */
export async function sees(address: string, brokerIds: readonly number[]): Promise<boolean> {
  const [host, port] = splitAddress(address)
  try {
    const view = await askCluster(host, port)
    return view.controllerId >= 0 && brokerIds.every((id) => view.brokerIds.includes(id))
  } catch {
    return false // Not ready, for whatever reason; the caller has the time limit and the broker's log.
  }
}

/** Splits `host:port`; an IPv6 host stays in its brackets' content. */
export function splitAddress(address: string): [host: string, port: number] {
  const colon = address.lastIndexOf(':')
  const port = Number(address.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1) throw new TypeError(`not host:port: '${address}'`)
  return [address.slice(0, colon).replace(/^\[|\]$/g, ''), port]
}

function request(api: { key: number; version: number }, correlationId: number, body: Buffer): Buffer {
  const clientId = Buffer.from('millrace-broker-kit')
  const header = Buffer.alloc(14)
  header.writeInt32BE(10 + clientId.length + body.length, 0)
  header.writeInt16BE(api.key, 4)
  header.writeInt16BE(api.version, 6)
  header.writeInt32BE(correlationId, 8)
  header.writeInt16BE(clientId.length, 12)
  return Buffer.concat([header, clientId, body])
}

/** Response frames without their length field. */
async function* readFrames(socket: Socket): AsyncGenerator<Buffer, void> {
  let pending: Buffer = Buffer.alloc(0)
  for await (const chunk of socket) {
    pending = Buffer.concat([pending, chunk as Buffer])
    while (pending.length >= 4 && pending.length >= 4 + pending.readInt32BE(0)) {
      const end = 4 + pending.readInt32BE(0)
      yield pending.subarray(4, end)
      pending = pending.subarray(end)
    }
  }
}

async function nextFrame(frames: AsyncGenerator<Buffer, void>): Promise<Buffer> {
  const result = await frames.next()
  if (result.done === true) throw new Error('the broker closed the connection before it answered')
  return result.value
}

/** Metadata v1: brokers (id, host, port, rack), then the controller's id. The topics behind it are not read. */
function parseMetadata(frame: Buffer): ClusterView {
  let at = 4
  const count = frame.readInt32BE(at)
  at += 4
  const brokerIds: number[] = []
  for (let index = 0; index < count; index++) {
    brokerIds.push(frame.readInt32BE(at))
    at += 4
    at += 2 + frame.readInt16BE(at) + 4
    at += 2 + Math.max(frame.readInt16BE(at), 0)
  }
  return { controllerId: frame.readInt32BE(at), brokerIds }
}
