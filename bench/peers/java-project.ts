/**
 * A peer in Java: a folder with a pinned pom.xml and sources, built by Maven and started as a process. What is built is kept
 * in the cache by content, so that Maven runs again only when something changed.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findJava, findMaven, kafkaCacheFolder, withFileLock } from '../../connectors/kafka/testing/kafka-jars.ts'
import { runCommand } from '../../connectors/kafka/testing/run-command.ts'
import type { Program } from '../programs.ts'

const buildTimeoutMs = 300_000

/** Sources that both peers use. */
const sharedFolder = fileURLToPath(new URL('./workloads', import.meta.url))
const folderOf = (project: string): string => fileURLToPath(new URL(`./${project}`, import.meta.url))

/** `jvmFlags`: of each process of it. */
export function javaProgram(project: string, mainClass: string, jvmFlags: readonly string[]): Program {
  return {
    name: project,
    plain: false,
    async prepare() {
      await build(project)
    },
    async command(given) {
      const [java, classpath] = await Promise.all([javaPath(), build(project)])
      const args = [...jvmFlags, '-cp', classpath.join(':'), mainClass, JSON.stringify(given)]
      return { name: project, file: java, args, channel: 'stdio' }
    },
  }
}

async function javaPath(): Promise<string> {
  const java = await findJava()
  if ('missing' in java) throw new Error(`the peers need ${java.missing}`)
  return java.path
}

/** The class path of a project, built now if need be. */
async function build(project: string): Promise<readonly string[]> {
  const cache = join(dirname(kafkaCacheFolder()), 'peers')
  await mkdir(cache, { recursive: true })
  const folder = join(cache, `${project}-${await contentHash(project)}`)
  const classpath = [join(folder, 'classes'), join(folder, 'libs', '*')]
  if (existsSync(folder)) return classpath
  return withFileLock(join(cache, `${project}.lock`), buildTimeoutMs, async () => {
    if (!existsSync(folder)) await runMaven(project, folder)
    return classpath
  })
}

async function contentHash(project: string): Promise<string> {
  const hash = createHash('sha256')
  for (const folder of [folderOf(project), sharedFolder]) {
    for (const name of (await readdir(folder)).sort()) hash.update(name).update(await readFile(join(folder, name)))
  }
  return hash.digest('hex').slice(0, 16)
}

/** Makes `folder` whole or not at all: a process that died half-way leaves no half build. */
async function runMaven(project: string, folder: string): Promise<void> {
  const maven = await findMaven()
  if ('missing' in maven) throw new Error(`the peers need ${maven.missing}`)
  const partial = `${folder}.${process.pid}.partial`
  await rm(partial, { recursive: true, force: true })
  const goals = [
    'compile',
    'dependency:copy-dependencies',
    '-DincludeScope=runtime',
    `-DoutputDirectory=${partial}/libs`,
  ]
  const args = ['-q', '-B', '-f', join(folderOf(project), 'pom.xml'), `-Dbuild.folder=${partial}`, ...goals]
  const result = await runCommand(maven.path, args, { timeoutMs: buildTimeoutMs })
  if (result.status !== 0) {
    await rm(partial, { recursive: true, force: true })
    const said = `${result.stdout}\n${result.stderr}`.trim().slice(0, 4_000)
    throw new Error(`Maven could not build ${project}: ${said}`)
  }
  await rename(partial, folder)
}
