/** The versions of what is compared, read from where they are pinned. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { findJava } from '../../connectors/kafka/testing/kafka-jars.ts'
import { dependency } from '../environment.ts'

export interface PeerVersions {
  readonly java: string
  readonly kafkaStreams: string
  readonly flink: string
  readonly flinkConnector: string
  readonly jackson: string
  readonly platformatic: string
}

export async function peerVersions(): Promise<PeerVersions> {
  const java = await findJava()
  const streams = readFileSync(new URL('./kafka-streams/pom.xml', import.meta.url), 'utf8')
  const flink = readFileSync(new URL('./flink/pom.xml', import.meta.url), 'utf8')
  return {
    java: 'missing' in java ? 'none' : versionOf(java.path),
    kafkaStreams: property(streams, 'kafka.version'),
    flink: property(flink, 'flink.version'),
    flinkConnector: property(flink, 'flink.connector.version'),
    jackson: property(flink, 'jackson.version'),
    platformatic: dependency('@platformatic/kafka'),
  }
}

/** As it calls itself. */
function versionOf(java: string): string {
  const { stderr } = spawnSync(java, ['-version'], { encoding: 'utf8' })
  return /version "([^"]+)"/.exec(stderr)?.[1] ?? 'of unknown version'
}

/** @throws Error if a pom does not pin it */
function property(pom: string, name: string): string {
  const start = pom.indexOf(`<${name}>`)
  const end = pom.indexOf(`</${name}>`)
  if (start < 0 || end < 0) throw new Error(`no ${name} in a peer's pom.xml`)
  return pom.slice(start + name.length + 2, end)
}
