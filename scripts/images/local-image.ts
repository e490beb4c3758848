// Images made on this machine. The name carries a hash of what goes in, so that an image is made once and made again when
// its recipe changes. They stay for the next run; `docker image rm $(docker image ls -q 'millrace-local/*')` removes them.
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { docker, hasImage } from './docker.ts'
import { RootFolder } from './root-folder.ts'

export interface LocalImage {
  readonly name: 'kafka' | 'node'
  readonly version: string
  /** Fills the root file system. */
  fill(root: RootFolder): Promise<void>
  readonly buildArgs: Readonly<Record<string, string>>
}

/** The image's name; it is made if it is not there. @throws ContainerError */
export async function localImage(image: LocalImage, log: (line: string) => void): Promise<string> {
  const tag = `millrace-local/${image.name}:${image.version}-${recipeHash(image.name)}`
  if (await hasImage(tag)) return tag
  log(`making the image ${tag} (once)`)
  const folder = mkdtempSync(join(tmpdir(), 'millrace-image-'))
  try {
    const root = new RootFolder(join(folder, 'root'))
    mkdirSync(root.path)
    await image.fill(root)
    await root.pack(join(folder, 'root.tar'))
    rmSync(root.path, { recursive: true, force: true })
    copyFileSync(join(import.meta.dirname, `${image.name}.Dockerfile`), join(folder, 'Dockerfile'))
    const args = Object.entries(image.buildArgs).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`])
    await docker(['build', '--quiet', '--force-rm', ...args, '-t', tag, folder], 300_000)
    return tag
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function recipeHash(name: string): string {
  const hash = createHash('sha256')
  for (const file of [`${name}.Dockerfile`, `${name}-image.ts`, 'root-folder.ts', 'local-image.ts'])
    hash.update(readFileSync(join(import.meta.dirname, file)))
  return hash.digest('hex').slice(0, 12)
}
