// One broker for everybody who needs one: `npm start`, the tests, the bench, users' own tests.
import { brokerKinds, externalBrokers, findBrokerKind } from './broker-kinds.ts'
import { startContainerBroker } from './container-broker.ts'
import { BrokerKitError } from './errors.ts'
import { startJavaBroker } from './java-broker.ts'
import { askCluster, splitAddress } from './readiness.ts'
import type { BrokerKind, BrokerOptions, BrokerRequest, TestBroker } from './test-broker.ts'
import { waitUntil } from './wait.ts'

const externalTimeoutMs = 5000

/**
 * Gives a broker, or a cluster of three, that is ready to serve. The first way that is possible is taken: the broker
 * named by KAFKA_BROKERS (only if nothing is asked that somebody else's broker cannot be given: three nodes, settings,
 * security), else Docker, else local Java processes. MILLRACE_BROKER or `kind` takes one way and no other.
 *
 * Close what it gives. If this process dies first, however it dies, what was started is ended and removed.
 *
 * @throws BrokerKitError BROKER_NONE_AVAILABLE (the message says what each way lacks), BROKER_START_FAILED,
 *   BROKER_UNREACHABLE, BROKER_JARS_UNAVAILABLE
 * @example
 * await using broker = await startBroker({ nodes: 3 })
 * await broker.nodes[0]?.kill()
 */
export async function startBroker(options: BrokerOptions = {}): Promise<TestBroker> {
  const log = options.log ?? (() => undefined)
  const request: BrokerRequest = {
    nodes: options.nodes ?? 1,
    settings: options.settings ?? {},
    security: options.security ?? 'plaintext',
    users: options.users ?? ['app'],
    log,
    heapMb: options.heapMb ?? 512,
    forLoad: options.forLoad ?? false,
  }
  const kind = await chooseKind(options.kind ?? forcedKind(), request)
  log(`starting a broker: ${kind}`)
  switch (kind) {
    case 'external':
      return useExternalBroker()
    case 'container':
      return startContainerBroker(request)
    case 'java':
      return startJavaBroker(request)
  }
}

function forcedKind(): BrokerKind | undefined {
  const forced = process.env.MILLRACE_BROKER
  if (forced === undefined || forced === '') return undefined
  const kind = brokerKinds.find((each) => each === forced)
  if (kind === undefined) throw new TypeError(`MILLRACE_BROKER is '${forced}'; it must be ${brokerKinds.join(', ')}`)
  return kind
}

async function chooseKind(forced: BrokerKind | undefined, request: BrokerRequest): Promise<BrokerKind> {
  const candidates = forced === undefined ? brokerKinds : [forced]
  const missing: string[] = []
  for (const kind of candidates) {
    const report = await findBrokerKind(kind)
    const unfit = kind === 'external' ? unfitForExternal(request) : undefined
    if (report.possible && unfit === undefined) return kind
    missing.push(`  ${kind}: ${report.possible ? unfit : `missing: ${report.missing}`}`)
  }
  const wanted =
    forced === undefined ? 'no way to get a Kafka broker here; one of these is enough' : `no '${forced}' broker`
  throw new BrokerKitError('BROKER_NONE_AVAILABLE', `${wanted}:\n${missing.join('\n')}`)
}

function unfitForExternal(request: BrokerRequest): string | undefined {
  const asked = [
    ...(request.nodes === 1 ? [] : ['three nodes']),
    ...(Object.keys(request.settings).length === 0 ? [] : ['settings']),
    ...(request.security === 'plaintext' ? [] : ['security']),
  ]
  if (asked.length === 0) return undefined
  return `${asked.join(' and ')} asked for, which the broker of KAFKA_BROKERS cannot be given`
}

async function useExternalBroker(): Promise<TestBroker> {
  const brokers = externalBrokers()
  let reason: unknown
  const answers = async (): Promise<boolean> => {
    for (const address of brokers) {
      const [host, port] = splitAddress(address)
      try {
        return (await askCluster(host, port)).controllerId >= 0
      } catch (error) {
        reason = error
      }
    }
    return false
  }
  if (!(await waitUntil(answers, { timeoutMs: externalTimeoutMs, everyMs: 500 }))) {
    const said = reason instanceof Error ? reason.message : 'it knows no controller'
    const message = `no broker of KAFKA_BROKERS=${brokers.join(',')} answers a plaintext request: ${said}`
    throw new BrokerKitError('BROKER_UNREACHABLE', message, { cause: reason })
  }
  const close = async (): Promise<void> => undefined
  return { kind: 'external', brokers, nodes: [], close, [Symbol.asyncDispose]: close }
}
