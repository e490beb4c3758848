// Brokers in containers, by Testcontainers, for machines with Docker and without Java.
//
// The configuration is the one of the Java processes, copied in as a file, and the container's command formats and
// starts by Kafka's own classes: the image's own start script knows no SCRAM users and maps names of its own.
// Host ports are fixed before the start, so that a broker killed and started again keeps its address.
import { randomBytes } from 'node:crypto'
import type { GenericContainer, StartedNetwork } from 'testcontainers'
import { type BrokerCertificates, makeCertificates } from './certificates.ts'
import { ContainerNode, type ContainerPlan } from './container-node.ts'
import { kafkaImage } from './docker-engine.ts'
import { BrokerKitError } from './errors.ts'
import { Janitor } from './janitor.ts'
import { freePorts } from './ports.ts'
import {
  formatArguments,
  keystorePem,
  log4jConfiguration,
  type NodePlaces,
  newClusterId,
  newPasswords,
  serverProperties,
  superUser,
} from './server-properties.ts'
import type { BrokerRequest, BrokerSecurity, TestBroker } from './test-broker.ts'

const startTimeoutMs = 180_000
const inside = { client: 9092, internal: 9094, controller: 9093 }
const propertiesFile = '/tmp/millrace-server.properties'
const logFile = '/tmp/millrace-log4j2.xml'
const files = { logDir: '/tmp/millrace-kafka', keyFile: '/tmp/millrace-server.pem', caFile: '/tmp/millrace-ca.pem' }

type Testcontainers = typeof import('testcontainers')

/** One node before its container exists. */
interface PlannedNode {
  readonly places: NodePlaces
  readonly name: string
  readonly clientPort: number
  readonly internalPort: number
}

/** Loads Testcontainers, or says why it cannot. It is no dependency of the package: who wants containers installs it. */
export async function loadTestcontainers(): Promise<Testcontainers | { readonly missing: string }> {
  // Its reaper is one more image to pull; the janitor does its work.
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'
  try {
    return await import('testcontainers')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { missing: `the package 'testcontainers' (${reason.split('\n')[0]})` }
  }
}

/**
 * Starts one broker or three. The image is pulled if need be.
 *
 * @throws BrokerKitError BROKER_START_FAILED, BROKER_NONE_AVAILABLE (no Testcontainers)
 */
export async function startContainerBroker(request: BrokerRequest): Promise<TestBroker> {
  const library = await loadTestcontainers()
  if ('missing' in library) throw new BrokerKitError('BROKER_NONE_AVAILABLE', `missing: ${library.missing}`)
  const janitor = Janitor.start('')
  const network = request.nodes === 1 ? undefined : await new library.Network().start()
  if (network !== undefined) janitor.watchNetwork(network.getId())
  const planned = await planNodes(request.nodes)
  const secure = request.security === 'sasl-ssl'
  const certificates = secure ? makeCertificates() : undefined
  const passwords = secure ? newPasswords(request.users) : {}
  const clusterId = newClusterId()
  const client = await library.getContainerRuntimeClient()
  const plan: ContainerPlan = { client: client.container, janitor, startTimeoutMs }
  const all = planned.map((each) => each.places)
  const nodes = planned.map((each) => {
    const address = { id: each.places.id, address: each.places.advertise.client, name: each.name }
    const container = containerOf(library, each, network)
    configure(container, each.places, all, request, {
      certificates,
      passwords,
      formatArgs: formatArguments(clusterId, propertiesFile, passwords),
    })
    return new ContainerNode(plan, { ...address, internal: `127.0.0.1:${each.internalPort}` }, container)
  })
  const end = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.remove()))
    await network?.stop()
    janitor.dismiss()
  }
  const started = await Promise.allSettled(nodes.map((node) => node.create(all.map((each) => each.id))))
  const failed = started.find((each) => each.status === 'rejected')
  if (failed !== undefined) {
    await end()
    throw failed.reason
  }
  const security: BrokerSecurity | undefined =
    certificates === undefined
      ? undefined
      : { ca: certificates.ca, users: passwords, superUser, mechanism: 'scram-sha-256' }
  return containerBroker(nodes, security, end)
}

function containerBroker(
  nodes: readonly ContainerNode[],
  security: BrokerSecurity | undefined,
  end: () => Promise<void>,
): TestBroker {
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= end()
    return closing
  }
  return {
    kind: 'container',
    brokers: nodes.map((node) => node.address),
    nodes,
    ...(security === undefined ? {} : { security }),
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function planNodes(count: number): Promise<PlannedNode[]> {
  const ports = await freePorts(count * 2)
  const run = randomBytes(6).toString('hex')
  return Array.from({ length: count }, (_, index) => {
    const [clientPort, internalPort] = ports.slice(index * 2)
    if (clientPort === undefined || internalPort === undefined) throw new Error('ports ran out')
    const id = index + 1
    const host = count === 1 ? 'localhost' : `kafka-${id}`
    const places = {
      id,
      listen: {
        client: `0.0.0.0:${inside.client}`,
        internal: `0.0.0.0:${inside.internal}`,
        controller: `0.0.0.0:${inside.controller}`,
      },
      advertise: {
        client: `127.0.0.1:${clientPort}`,
        internal: `${host}:${inside.internal}`,
        controller: `${host}:${inside.controller}`,
      },
    }
    return { places, name: `millrace-broker-${run}-${id}`, clientPort, internalPort }
  })
}

function containerOf(
  library: Testcontainers,
  node: PlannedNode,
  network: StartedNetwork | undefined,
): GenericContainer {
  const container = new library.GenericContainer(kafkaImage())
    .withName(node.name)
    .withExposedPorts(
      { container: inside.client, host: node.clientPort },
      { container: inside.internal, host: node.internalPort },
    )
    .withStartupTimeout(startTimeoutMs)
    .withWaitStrategy(library.Wait.forLogMessage(/Kafka Server started/))
  return network === undefined
    ? container
    : container.withNetwork(network).withNetworkAliases(`kafka-${node.places.id}`)
}

function configure(
  container: GenericContainer,
  places: NodePlaces,
  all: readonly NodePlaces[],
  request: BrokerRequest,
  secrets: {
    readonly certificates: BrokerCertificates | undefined
    readonly passwords: Readonly<Record<string, string>>
    readonly formatArgs: readonly string[]
  },
): void {
  const kafka = "java -cp '/opt/kafka/libs/*'"
  const flags = `-Xmx${request.heapMb}m -Djava.awt.headless=true -Dlog4j2.configurationFile=${logFile}`
  const script = [
    'PATH="$PATH:/opt/java/openjdk/bin:/opt/java/bin"',
    `[ -e /tmp/millrace-formatted ] || { ${kafka} kafka.tools.StorageTool "$@" && : > /tmp/millrace-formatted; } || exit 1`,
    `exec ${kafka} ${flags} kafka.Kafka ${propertiesFile}`,
  ].join('\n')
  const { certificates } = secrets
  container
    .withEntrypoint(['/bin/sh', '-c', script, 'millrace-broker'])
    .withCommand([...secrets.formatArgs])
    .withCopyContentToContainer([
      { target: propertiesFile, content: serverProperties(places, all, request, files, secrets.passwords) },
      { target: logFile, content: log4jConfiguration },
    ])
  if (certificates === undefined) return
  container.withCopyContentToContainer([
    { target: files.keyFile, content: keystorePem(certificates) },
    { target: files.caFile, content: certificates.ca },
  ])
}
