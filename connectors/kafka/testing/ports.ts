// Free TCP ports on the loopback address.
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

const lowest = 15_000
const highest = 30_000
const attemptsMax = 200

/**
 * Asks for free ports, all different. They lie below the range from which the system takes the ports of outgoing
 * connections (32768 up): else a client that reconnects while a broker is down may be given the broker's own port,
 * connect to itself, and keep the broker from starting again.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  for (let attempt = 0; ports.size < count; attempt++) {
    if (attempt === attemptsMax) throw new Error(`no ${count} free ports between ${lowest} and ${highest}`)
    const port = randomInt(lowest, highest)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
