// Which ways to get a broker are possible on this machine, and what each of the others lacks, in words.
import { loadTestcontainers } from './container-broker.ts'
import { findDockerImage } from './docker-engine.ts'
import { findJava, findMaven, kafkaVersion, resolvedJars } from './kafka-jars.ts'
import type { BrokerKind } from './test-broker.ts'

/** `found` and `missing` are for people to read. */
export type BrokerKindReport =
  | { readonly kind: BrokerKind; readonly possible: true; readonly found: string }
  | { readonly kind: BrokerKind; readonly possible: false; readonly missing: string }

/** The order in which `startBroker` tries them. */
export const brokerKinds: readonly BrokerKind[] = ['external', 'container', 'java']

/** Looks at all three ways. Takes a second or so; where Docker must ask a registry, up to ten. Starts nothing. */
export async function findBrokerKinds(): Promise<readonly BrokerKindReport[]> {
  return Promise.all(brokerKinds.map(findBrokerKind))
}

export async function findBrokerKind(kind: BrokerKind): Promise<BrokerKindReport> {
  switch (kind) {
    case 'external':
      return findExternal()
    case 'container':
      return findContainer()
    case 'java':
      return findJavaKind()
  }
}

/** The addresses of KAFKA_BROKERS, empty when it is not set. */
export function externalBrokers(): string[] {
  return (process.env.KAFKA_BROKERS ?? '')
    .split(',')
    .map((address) => address.trim())
    .filter((address) => address !== '')
}

function findExternal(): BrokerKindReport {
  const brokers = externalBrokers()
  if (brokers.length > 0) return { kind: 'external', possible: true, found: `KAFKA_BROKERS=${brokers.join(',')}` }
  return { kind: 'external', possible: false, missing: 'KAFKA_BROKERS is not set (host:port,… of a broker that runs)' }
}

async function findContainer(): Promise<BrokerKindReport> {
  const engine = await findDockerImage()
  if ('missing' in engine) return { kind: 'container', possible: false, missing: engine.missing }
  const library = await loadTestcontainers()
  if ('missing' in library) return { kind: 'container', possible: false, missing: library.missing }
  const state = engine.pulled ? 'there' : 'to be pulled'
  return { kind: 'container', possible: true, found: `Docker, image ${engine.image} (${state})` }
}

async function findJavaKind(): Promise<BrokerKindReport> {
  const java = await findJava()
  const haveJars = resolvedJars() !== undefined
  const maven = haveJars ? undefined : await findMaven()
  const missing = [java, maven].flatMap((tool) => (tool !== undefined && 'missing' in tool ? [tool.missing] : []))
  if (missing.length > 0 || 'missing' in java) return { kind: 'java', possible: false, missing: missing.join('; ') }
  const jars = haveJars ? 'resolved' : 'to be resolved by Maven'
  return { kind: 'java', possible: true, found: `Java ${java.version}, jars of Kafka ${kafkaVersion} ${jars}` }
}
