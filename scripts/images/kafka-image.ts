// Kafka in an image: the official one if Docker can have it, else one made from Maven's jars and a small Java of jlink.
import { cpSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  findJava,
  findMaven,
  kafkaJars,
  kafkaVersion,
  resolvedJars,
} from '../../connectors/kafka/testing/kafka-jars.ts'
import { ContainerError, obtainImage } from './docker.ts'
import { localImage } from './local-image.ts'
import { must, type RootFolder, sharedObjects, which } from './root-folder.ts'

const modules = [
  ...['java.base', 'java.desktop', 'java.logging', 'java.management', 'java.management.rmi', 'java.naming'],
  ...['java.security.jgss', 'java.security.sasl', 'java.sql', 'java.xml', 'jdk.crypto.ec', 'jdk.jcmd'],
  ...['jdk.management', 'jdk.unsupported', 'jdk.zipfs'],
  // The official image has no compiler; here no other image could be pulled for it.
  'jdk.compiler',
]

const commands: Readonly<Record<string, string>> = {
  'kafka-broker-api-versions.sh': 'org.apache.kafka.tools.BrokerApiVersionsCommand',
  'kafka-console-consumer.sh': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'kafka-console-producer.sh': 'org.apache.kafka.tools.ConsoleProducer',
  'kafka-topics.sh': 'org.apache.kafka.tools.TopicCommand',
}

const log4j = `<Configuration>
  <Appenders><Console name="out"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
`

/** The environment becomes properties by Kafka's own class, as in the official image. A restart finds its disk formatted. */
const run = `#!/bin/sh
export CLUSTER_ID="\${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"
java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1 | tee /tmp/setup.log
if ! [ -s /opt/kafka/config/server.properties ]; then exit 1; fi
exec java \${KAFKA_HEAP_OPTS:--Xmx512m} -Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.xml -cp '/opt/kafka/libs/*' \\
  kafka.Kafka /opt/kafka/config/server.properties
`

/** @throws ContainerError IMAGE_UNAVAILABLE */
export async function kafkaImage(log: (line: string) => void): Promise<string> {
  const official = process.env.MILLRACE_KAFKA_IMAGE ?? `apache/kafka:${kafkaVersion}`
  if (await obtainImage(official)) return official
  log(`${official} cannot be pulled`)
  return localImage({ name: 'kafka', version: kafkaVersion, fill: (root) => fill(root, log), buildArgs: {} }, log)
}

async function fill(root: RootFolder, log: (line: string) => void): Promise<void> {
  const tools = resolvedJars() === undefined ? [await findJava(), await findMaven()] : [await findJava()]
  const missing = tools.flatMap((tool) => ('missing' in tool ? [tool.missing] : []))
  if (missing.length > 0)
    throw new ContainerError('IMAGE_UNAVAILABLE', `no registry, and to make Kafka's image here: ${missing.join('; ')}`)
  const jlink = await which('jlink', 'install a JDK ≥ 17')
  await root.addBase('appuser')
  const java = root.at('/opt/java')
  const flags = ['--strip-debug', '--no-man-pages', '--no-header-files', '--compress=0']
  await must(jlink, [...flags, '--add-modules', modules.join(','), '--output', java], 'a small Java')
  await root.addLibrariesOf([join(java, 'bin', 'java'), ...sharedObjects(join(java, 'lib'))])
  const jars = await kafkaJars(log)
  mkdirSync(root.at('/opt/kafka/libs'), { recursive: true })
  for (const jar of readdirSync(jars)) cpSync(join(jars, jar), root.at(`/opt/kafka/libs/${jar}`))
  for (const [name, main] of Object.entries(commands)) {
    const script = `#!/bin/sh\nexec java -Xmx256m -cp '/opt/kafka/libs/*' ${main} "$@"\n`
    root.write(`/opt/kafka/bin/${name}`, script, 0o755)
  }
  root.write('/etc/kafka/docker/run', run, 0o755)
  root.write('/etc/kafka/docker/log4j2.xml', log4j)
  // The wrapper copies defaults of these names; what it makes of the environment replaces the first one whole.
  for (const name of ['server.properties', 'log4j2.yaml', 'tools-log4j2.yaml'])
    root.write(`/etc/kafka/docker/${name}`, '')
}

/** Kafka's jars for the checker's Java reader, where this machine can have them. */
export async function kafkaLibs(): Promise<string | undefined> {
  const known = resolvedJars()
  if (known !== undefined) return known
  const tools = [await findJava(), await findMaven()]
  return tools.some((tool) => 'missing' in tool) ? undefined : kafkaJars()
}
