// A base with Node for our Dockerfile: the official one if Docker can have it, else one made of the Node that runs this.
import { cpSync, existsSync, symlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { obtainImage } from './docker.ts'
import { localImage } from './local-image.ts'
import { type RootFolder, which } from './root-folder.ts'

const official = process.env.MILLRACE_NODE_IMAGE ?? 'node:26-slim'
const caFileInside = '/etc/ssl/certs/ca-certificates.crt'

/** @throws ContainerError IMAGE_UNAVAILABLE */
export async function nodeImage(log: (line: string) => void): Promise<string> {
  if (await obtainImage(official)) return official
  log(`${official} cannot be pulled`)
  // npm in the image must trust what npm here trusts: a proxy may have a certificate authority of its own.
  const ca = caFile()
  const buildArgs: Record<string, string> = ca === undefined ? {} : { CA_FILE: caFileInside }
  return localImage({ name: 'node', version: process.versions.node, fill, buildArgs }, log)
}

function caFile(): string | undefined {
  const named = process.env.NODE_EXTRA_CA_CERTS
  return named !== undefined && existsSync(named) ? named : undefined
}

async function fill(root: RootFolder): Promise<void> {
  await root.addBase('node')
  cpSync(process.execPath, root.at('/usr/local/bin/node'))
  await root.addLibrariesOf([process.execPath])
  const npm = dirname(dirname(await which('npm', 'install npm')))
  cpSync(npm, root.at('/usr/local/lib/node_modules/npm'), { recursive: true })
  for (const name of ['npm', 'npx'])
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, root.at(`/usr/local/bin/${name}`))
  const ca = caFile()
  if (ca !== undefined) cpSync(ca, root.at(caFileInside), { dereference: true })
}
