// What a test broker is configured with, the same for Java processes and containers.
//
// Three listeners each: CLIENT (what tests connect to, SASL_SSL if asked for), INTERNAL (between brokers, and for the
// readiness probe) and CONTROLLER. The last two are plaintext, never advertised to clients, bound to the loopback
// address or the container; their principal, ANONYMOUS, is a super user where ACLs are on.
import { randomBytes } from 'node:crypto'
import type { BrokerCertificates } from './certificates.ts'
import type { BrokerRequest } from './test-broker.ts'

/** Where one node listens and what it tells others. Each is `host:port`. */
export interface NodePlaces {
  readonly id: number
  readonly listen: { readonly client: string; readonly internal: string; readonly controller: string }
  readonly advertise: { readonly client: string; readonly internal: string; readonly controller: string }
}

export const superUser = 'admin'

/** Properties of one node. `pemFile` and `trustFile` are the paths where the node itself finds the TLS material. */
export function serverProperties(
  node: NodePlaces,
  all: readonly NodePlaces[],
  request: BrokerRequest,
  files: { readonly logDir: string; readonly keyFile: string; readonly caFile: string },
  passwords: Readonly<Record<string, string>>,
): string {
  const voters = all.map((each) => `${each.id}@${each.advertise.controller}`).join(',')
  const clientProtocol = request.security === 'sasl-ssl' ? 'SASL_SSL' : 'PLAINTEXT'
  const { listen, advertise } = node
  const properties: Record<string, string> = {
    'process.roles': 'broker,controller',
    'node.id': String(node.id),
    'controller.quorum.voters': voters,
    listeners: `CLIENT://${listen.client},INTERNAL://${listen.internal},CONTROLLER://${listen.controller}`,
    'advertised.listeners': `CLIENT://${advertise.client},INTERNAL://${advertise.internal}`,
    'listener.security.protocol.map': `CLIENT:${clientProtocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': files.logDir,
    ...commonSettings(request.nodes),
    ...(request.security === 'sasl-ssl' ? securitySettings(files, passwords) : {}),
    ...request.settings,
  }
  return `${Object.entries(properties)
    .map(([key, value]) => `${key}=${value.replaceAll('\\', '\\\\')}`)
    .join('\n')}\n`
}

/**
 * A dead broker is fenced after 3 s (Kafka's default: 9 s), so that kills are felt, and a killed single broker may
 * register again, soon; followers leave the ISR after 4 s.
 */
function commonSettings(nodes: 1 | 3): Record<string, string> {
  const replicas = String(nodes)
  const inSync = nodes === 3 ? '2' : '1'
  const partitions = nodes === 3 ? '10' : '4'
  return {
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': partitions,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'transaction.state.log.num.partitions': partitions,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    'group.initial.rebalance.delay.ms': '0',
    'auto.create.topics.enable': 'false',
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'replica.lag.time.max.ms': '4000',
    'log.cleaner.dedupe.buffer.size': String(32 * 1024 * 1024),
  }
}

const scramLogin = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'

function securitySettings(
  files: { readonly keyFile: string; readonly caFile: string },
  passwords: Readonly<Record<string, string>>,
): Record<string, string> {
  const users = Object.entries(passwords)
    .map(([user, password]) => `user_${user}="${password}"`)
    .join(' ')
  return {
    'sasl.enabled.mechanisms': 'SCRAM-SHA-256,SCRAM-SHA-512,PLAIN',
    'listener.name.client.scram-sha-256.sasl.jaas.config': scramLogin,
    'listener.name.client.scram-sha-512.sasl.jaas.config': scramLogin,
    'listener.name.client.plain.sasl.jaas.config': `org.apache.kafka.common.security.plain.PlainLoginModule required ${users};`,
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': files.keyFile,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': files.caFile,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': `User:${superUser};User:ANONYMOUS`,
    'allow.everyone.if.no.acl.found': 'false',
  }
}

/** Kafka reads key and certificate from one PEM file: the key first. */
export function keystorePem(certificates: BrokerCertificates): string {
  return certificates.serverKey + certificates.serverCertificate
}

/** 16 random bytes, as KRaft wants a cluster id. */
export function newClusterId(): string {
  const id = randomBytes(16).toString('base64url')
  return id.startsWith('-') ? newClusterId() : id // StorageTool would take a leading dash for an option.
}

/** A password for the super user and each other user. */
export function newPasswords(users: readonly string[]): Record<string, string> {
  const names = [superUser, ...users.filter((user) => user !== superUser)]
  return Object.fromEntries(names.map((user) => [user, randomBytes(12).toString('hex')]))
}

/** Arguments of `kafka.tools.StorageTool`. SCRAM users must be there before the first broker is. */
export function formatArguments(
  clusterId: string,
  propertiesFile: string,
  passwords: Readonly<Record<string, string>>,
): string[] {
  const scram = Object.entries(passwords).flatMap(([user, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${user},password=${password}]`,
    ]),
  )
  return ['format', '-t', clusterId, '-c', propertiesFile, ...scram]
}

/** Logs to stdout. Without it log4j would log errors only, and a failed start would say nothing. */
export const log4jConfiguration = `<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="stdout"><PatternLayout pattern="%d{ISO8601} %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="stdout"/></Root>
    <Logger name="state.change.logger" level="WARN"/>
    <Logger name="org.apache.kafka.clients" level="WARN"/>
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="WARN"/>
    <Logger name="kafka.server.KafkaConfig" level="WARN"/>
    <Logger name="kafka.authorizer.logger" level="WARN"/>
  </Loggers>
</Configuration>
`
