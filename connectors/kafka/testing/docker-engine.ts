// Is there a Docker engine, and has it Kafka's image or can it get it? Asked over the engine's own HTTP interface with
// short time limits, before the (large) Testcontainers package is loaded.
import { request } from 'node:http'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { kafkaVersion } from './kafka-jars.ts'

const engineTimeoutMs = 2000
const registryTimeoutMs = 10_000
const bodyBytesMax = 65_536

/** Kafka's image; MILLRACE_KAFKA_IMAGE names another of the same layout. */
export function kafkaImage(): string {
  return process.env.MILLRACE_KAFKA_IMAGE ?? `apache/kafka:${kafkaVersion}`
}

/** `missing` says in words what stands in the way. */
export type FoundEngine = { readonly image: string; readonly pulled: boolean } | { readonly missing: string }

/** Looks at DOCKER_HOST if it is set, else at the usual sockets. */
export async function findDockerImage(): Promise<FoundEngine> {
  const image = kafkaImage()
  const tried: string[] = []
  for (const engine of engineAddresses()) {
    const answer = await ask(engine, 'GET', '/_ping', engineTimeoutMs)
    if (answer.status === 200) return findImage(engine, image)
    tried.push(`${engine} (${answer.body})`)
  }
  return { missing: `a running Docker engine (tried ${tried.join(', ')})` }
}

async function findImage(engine: string, image: string): Promise<FoundEngine> {
  const known = await ask(engine, 'GET', `/images/${image}/json`, engineTimeoutMs)
  if (known.status === 200) return { image, pulled: true }
  // This asks the registry for the manifest, through the engine, and downloads nothing.
  const remote = await ask(engine, 'GET', `/distribution/${image}/json`, registryTimeoutMs)
  if (remote.status === 200) return { image, pulled: false }
  return { missing: `the image ${image}: Docker runs, but has not got it and cannot fetch it (${remote.body})` }
}

function engineAddresses(): string[] {
  const configured = process.env.DOCKER_HOST
  if (configured !== undefined && configured !== '') return [configured]
  if (process.platform === 'win32') return ['npipe:////./pipe/docker_engine']
  const runtime = process.env.XDG_RUNTIME_DIR
  const rootless = runtime === undefined ? [] : [join(runtime, 'docker.sock')]
  const sockets = ['/var/run/docker.sock', ...rootless, join(homedir(), '.docker', 'run', 'docker.sock')]
  return sockets.map((path) => `unix://${path}`)
}

interface EngineAnswer {
  /** 0 when there was no answer; then `body` is the reason. */
  readonly status: number
  readonly body: string
}

function ask(engine: string, method: string, path: string, timeoutMs: number): Promise<EngineAnswer> {
  const socketPath = /^(?:unix|npipe):\/\/(.+)$/.exec(engine)?.[1]
  const address = engine.replace(/^tcp:/, 'http:')
  const where = socketPath === undefined ? { ...hostAndPort(address), path } : { socketPath, path }
  const options = { ...where, method, headers: { host: 'docker' }, signal: AbortSignal.timeout(timeoutMs) }
  return new Promise((resolve) => {
    const failed = (error: Error): void => resolve({ status: 0, body: error.message })
    const call = request(options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        if (body.length < bodyBytesMax) body += text
      })
      response.once('error', failed)
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: body.trim() }))
    })
    call.once('error', failed)
    call.end()
  })
}

function hostAndPort(address: string): { host: string; port: number } {
  if (!URL.canParse(address)) return { host: address, port: 2375 }
  const url = new URL(address)
  return { host: url.hostname, port: Number(url.port === '' ? 2375 : url.port) }
}
