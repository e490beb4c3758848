// Which test files need what: read from what they import, so that nobody keeps a list. Files that start no broker and no
// Java process run everywhere.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { findBrokerKinds } from '../../connectors/kafka/testing/broker-kinds.ts'
import { findDockerImage } from '../../connectors/kafka/testing/docker-engine.ts'
import { findJava, findJavac, findMaven, resolvedJars } from '../../connectors/kafka/testing/kafka-jars.ts'
import { root } from './child.ts'
import { nothing, type Tally } from './tally.ts'

/** `broker`: any broker will do. `probes`: Kafka's Java client, too. `java`: brokers that are Java processes of ours. */
export type Need = 'nothing' | 'broker' | 'probes' | 'java'
const needs: readonly Need[] = ['nothing', 'broker', 'probes', 'java']

const kit = /connectors\/kafka\/testing\/|'millrace\/testing'/
const probes = /\bJava[A-Z]\w*|\b\w*Probe\w*|\bjava[A-Z]\w*/
const processes = /\bkind: 'java'|\bnodes: 3/

/** Of a test file and the support files that it imports; the path is relative to the root. */
export function needOf(path: string, seen: Set<string> = new Set()): Need {
  seen.add(path)
  const text = readFileSync(join(root, path), 'utf8')
  const imports = [...text.matchAll(/\bfrom '([^']+)'/g)].flatMap(([, specifier]) => specifier ?? [])
  const inText: Need = processes.test(text) ? 'java' : probes.test(text) ? 'probes' : 'broker'
  const own = imports.some((each) => kit.test(each)) ? inText : 'nothing'
  const support = imports
    .filter((each) => each.startsWith('.'))
    .map((each) => normalize(join(dirname(path), each)))
    .filter((each) => each.startsWith('test') && !seen.has(each) && existsSync(join(root, each)))
  const all = [own, ...support.map((each) => needOf(each, seen))]
  return needs.findLast((each) => all.includes(each)) ?? 'nothing'
}

/** What this machine offers; else in words what is missing. */
export interface Offer {
  readonly broker: true | string
  readonly probes: true | string
  readonly java: true | string
}

export async function findOffer(): Promise<Offer> {
  const [java, javac, maven] = await Promise.all([findJava(), findJavac(), findMaven()])
  const tools = resolvedJars() === undefined ? [java, javac, maven] : [java, javac]
  const missing = tools.flatMap((each) => ('missing' in each ? [each.missing] : []))
  if (missing.length === 0) return { broker: true, probes: true, java: true }
  const kinds = await findBrokerKinds()
  const ways = kinds.map((each) => (each.possible ? each.found : `${each.kind}: ${each.missing}`))
  const docker = await findDockerImage()
  return {
    broker: kinds.some((each) => each.possible) || ways.join('; '),
    probes: 'missing' in docker ? `${missing.join('; ')}; or ${docker.missing}` : true,
    java: missing.join('; '),
  }
}

const wanted: Readonly<Record<Need, string>> = {
  nothing: '',
  broker: 'a broker',
  probes: "Kafka's Java client",
  java: 'brokers as Java processes',
}

/** Divides files into those that can run here and a tally of those that cannot. */
export function divide(files: readonly string[], offer: Offer): { readonly run: string[]; readonly left: Tally } {
  const run: string[] = []
  const notRun: string[] = []
  let skipped = 0
  for (const file of files) {
    const need = needOf(file)
    const found = need === 'nothing' ? true : offer[need]
    if (found === true) {
      run.push(file)
      continue
    }
    skipped += readFileSync(join(root, file), 'utf8').match(/^\s*test(\.each\b.*)?\(/gm)?.length ?? 1
    notRun.push(`${file}: ${wanted[need]}; missing: ${found}`)
  }
  return { run, left: { ...nothing, skipped, notRun } }
}
