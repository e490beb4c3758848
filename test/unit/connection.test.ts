/**
 * Goal: a broker that answers nonsense costs its own request a coded error, never the process. Method: a real socket to a
 * server in this process that answers as told.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, Socket } from 'node:net'
import { expect, test } from '@jest/globals'
import { FindCoordinator } from '../../connectors/kafka/wire/cluster-requests.ts'
import { Connection } from '../../connectors/kafka/wire/connection.ts'
import type { Api } from '../../connectors/kafka/wire/primitives.ts'

const versions = new Map([[FindCoordinator.key, { min: 0, max: 6 }]])

/** Frames `body` behind a length and the correlation id of the request. */
function answer(request: Buffer, body: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeInt32BE(body.length + 4, 0)
  request.copy(head, 4, 8, 12)
  return Buffer.concat([head, body])
}

async function codeAgainst(reply: (socket: Socket, request: Buffer) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (request) => reply(socket, request))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  const connection = new Connection(socket, 'test', 'millrace', 0, versions)
  socket.on('data', (chunk) => connection.receive(chunk, chunk.length))
  try {
    const sent = connection.send(FindCoordinator, { key: 'group', type: 'group' }, 10_000)
    return await sent.then(
      () => 'answered',
      (error: { code?: string }) => error.code ?? String(error),
    )
  } finally {
    connection.close()
    server.close()
    await once(server, 'close')
  }
}

test.each([
  ['a tag section longer than the response', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f])],
  ['a varint that never ends', Buffer.alloc(30, 0xff)],
  ['no byte at all', Buffer.alloc(0)],
  ['a body that ends early', Buffer.from([0, 0, 0, 0])],
])('a response with %s is refused with a code', async (_, body) => {
  expect(await codeAgainst((socket, request) => socket.write(answer(request, body)))).toBe('BYTES_MALFORMED')
})

test('a response is read when it comes byte by byte', async () => {
  const body = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x68, 0, 0, 0x23, 0x84, 0])
  const reply = (socket: Socket, request: Buffer): void => {
    socket.setNoDelay(true)
    for (const byte of answer(request, body)) socket.write(Buffer.from([byte]))
  }
  expect(await codeAgainst(reply)).toBe('answered')
})

test.each([-1, 0, 3, 2 ** 31 - 1])('a frame that claims %d bytes ends the connection', async (length) => {
  const frame = Buffer.alloc(64)
  frame.writeInt32BE(length, 0)
  expect(await codeAgainst((socket) => socket.write(frame))).toBe('KAFKA_CONNECTION_LOST')
})

test('a broker that hangs up fails the requests in flight', async () => {
  expect(await codeAgainst((socket) => socket.end())).toBe('KAFKA_CONNECTION_LOST')
})

test('a large response goes from the socket right into its memory, and what follows it is read as well', async () => {
  const raw: Api<null, string> = {
    ...{ name: 'Raw', key: FindCoordinator.key, min: 0, max: 6, flexibleFrom: 0 },
    encode: () => undefined,
    decode: (reader) => reader.utf8(reader.remaining),
  }
  const socket = new Socket()
  const connection = new Connection(socket, 'test', 'millrace', 0, versions)
  const [large, small] = [connection.send(raw, null), connection.send(raw, null)]
  const body = (text: string, correlation: number): Buffer => {
    const head = Buffer.alloc(9)
    head.writeInt32BE(text.length + 5, 0)
    head.writeInt32BE(correlation, 4)
    return Buffer.concat([head, Buffer.from(text)])
  }
  const text = 'abcdefghijk'.repeat(100_000)
  const stream = Buffer.concat([body(text, 1), body('the next', 2)])
  const shared = Buffer.alloc(256 * 1024)
  const places = new Set<ArrayBufferLike>()
  for (let at = 0; at < stream.length; ) {
    const place = connection.room ?? shared
    const length = stream.copy(place, 0, at, at + 70_000)
    places.add(place.buffer)
    connection.receive(place, length)
    at += length
  }
  expect(await large).toBe(text)
  expect(await small).toBe('the next')
  expect(places.size).toBe(2)
  connection.close()
})
