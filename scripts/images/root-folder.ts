// A root file system in a folder, from what this machine has: busybox as shell and tools, programs with the shared
// libraries that they load, the few files of /etc that programs look for. Linux with glibc and GNU tar only.
import { cpSync, existsSync, mkdirSync, readdirSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { runCommand } from '../../connectors/kafka/testing/run-command.ts'
import { ContainerError } from './docker.ts'

/** What glibc, Java and native addons of npm packages load at run time, where no list of libraries here shows it. */
const loadedByName = [
  ...['libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2', 'librt.so.1', 'libdl.so.2', 'libutil.so.1'],
  ...['libpthread.so.0', 'libgcc_s.so.1', 'libstdc++.so.6'],
]

export class RootFolder {
  readonly path: string
  readonly #libraries = new Set<string>()

  constructor(path: string) {
    this.path = path
  }

  at(path: string): string {
    const full = join(this.path, path)
    mkdirSync(dirname(full), { recursive: true })
    return full
  }

  write(path: string, text: string, mode = 0o644): void {
    writeFileSync(this.at(path), text, { mode })
  }

  /** /bin/sh and everything else that busybox is, /etc, /tmp; `user` has the id 1000. */
  async addBase(user: string): Promise<void> {
    const busybox = await which('busybox', 'apt-get install busybox-static')
    const { stdout } = await must('ldd', [busybox], 'static').catch(() => ({ stdout: 'statically linked' }))
    cpSync(busybox, this.at('/bin/busybox'))
    if (!stdout.includes('static')) await this.addLibrariesOf([busybox])
    const applets = (await must(busybox, ['--list'], 'the list of tools')).stdout.trim().split('\n')
    // Not under its own name: that would be a link to itself.
    for (const name of applets) if (name !== 'busybox') symlinkSync('/bin/busybox', this.at(`/bin/${name}`))
    mkdirSync(this.at('/usr/bin'), { recursive: true })
    symlinkSync('/bin/busybox', this.at('/usr/bin/env'))
    this.write('/etc/passwd', `root:x:0:0:root:/root:/bin/sh\n${user}:x:1000:1000::/home/${user}:/bin/sh\n`)
    this.write('/etc/group', `root:x:0:\n${user}:x:1000:\n`)
    this.write('/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n')
    for (const folder of ['/root', '/var', '/usr/local/bin']) mkdirSync(this.at(folder), { recursive: true })
    mkdirSync(this.at('/tmp'), { recursive: true })
    await must('chmod', ['1777', join(this.path, 'tmp')], '/tmp')
  }

  /** Copies every shared library that the given programs and libraries are linked with. */
  async addLibrariesOf(files: readonly string[]): Promise<void> {
    for (const file of files) {
      const { stdout } = await runCommand('ldd', [file])
      for (const [, path] of stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)) if (path) this.#addLibrary(path)
    }
    const folders = new Set([...this.#libraries].map((library) => dirname(library)))
    for (const name of loadedByName) {
      const found = [...folders].map((folder) => join(folder, name)).find((path) => existsSync(path))
      if (found !== undefined) this.#addLibrary(found)
    }
  }

  #addLibrary(path: string): void {
    if (this.#libraries.has(path)) return
    this.#libraries.add(path)
    cpSync(realpathSync(path), this.at(path))
  }

  /** All of it as a tar file that belongs to root. */
  async pack(file: string): Promise<void> {
    await must('tar', ['-C', this.path, '--owner=0', '--group=0', '--numeric-owner', '-cf', file, '.'], 'GNU tar')
  }
}

/** The shared libraries below a folder. */
export function sharedObjects(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.so(\.\d+)*$/.test(basename(name)))
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
}

/** Where a program is. @throws ContainerError IMAGE_UNAVAILABLE */
export async function which(program: string, remedy: string): Promise<string> {
  const { status, stdout } = await runCommand('/bin/sh', ['-c', 'command -v "$1"', 'which', program])
  if (status === 0) return realpathSync(stdout.trim())
  throw new ContainerError('IMAGE_UNAVAILABLE', `no registry, and no '${program}' to make an image with: ${remedy}`)
}

/** @throws ContainerError IMAGE_UNAVAILABLE */
export async function must(
  command: string,
  args: readonly string[],
  what: string,
): Promise<{ readonly stdout: string }> {
  const result = await runCommand(command, args, { timeoutMs: 300_000 })
  if (result.status === 0) return result
  throw new ContainerError('IMAGE_UNAVAILABLE', `${what}: '${command}' failed: ${result.stderr.trim().slice(-2000)}`)
}
