// The `docker` command line, and the one kind of error of everything about images and containers.
import { runCommand } from '../../connectors/kafka/testing/run-command.ts'

/** What each code means; the remedy is in the message of the error itself. */
export const containerErrorCodes = {
  DOCKER_UNAVAILABLE: 'there is no Docker engine that answers, or no `docker` command',
  DOCKER_FAILED: 'a docker command failed',
  IMAGE_UNAVAILABLE: 'an image can neither be pulled nor be made here',
} as const

export class ContainerError extends Error {
  readonly code: keyof typeof containerErrorCodes

  constructor(code: keyof typeof containerErrorCodes, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options)
    this.name = 'ContainerError'
    this.code = code
  }
}

/** Runs `docker` and gives what it wrote to stdout. @throws ContainerError DOCKER_FAILED */
export function docker(args: readonly string[], timeoutMs = 60_000): Promise<string> {
  return runDocker(['docker', ...args], timeoutMs)
}

/** The same of `docker`, its compose or `docker-compose`. `env`: besides this process's own. */
export async function runDocker(
  command: readonly string[],
  timeoutMs: number,
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const [program, ...args] = command as [string, ...string[]]
  // The classic builder is asked for by name: machines without buildx have no other, and our files need no more.
  const builder = { DOCKER_BUILDKIT: '0', COMPOSE_DOCKER_CLI_BUILD: '0' }
  const settings = { timeoutMs, env: { ...process.env, ...builder, ...env } }
  const { status, stdout, stderr } = await runCommand(program, args, settings)
  if (status === 0) return stdout.trim()
  const said = `${stdout}\n${stderr}`.trim().slice(-4000)
  throw new ContainerError('DOCKER_FAILED', `${command.join(' ')} (exit code ${status}):\n${said}`)
}

/** @throws ContainerError DOCKER_UNAVAILABLE */
export async function assertDocker(): Promise<void> {
  const { status, stderr } = await runCommand('docker', ['version', '--format', '{{.Server.Version}}'])
  if (status === 0) return
  throw new ContainerError(
    'DOCKER_UNAVAILABLE',
    `missing: a Docker engine that answers, and the docker command (${stderr.trim()}). Install and start Docker; on Debian: apt-get install docker.io iptables, then start dockerd`,
  )
}

export async function hasImage(name: string): Promise<boolean> {
  return (await runCommand('docker', ['image', 'inspect', '--format', '{{.Id}}', name])).status === 0
}

/** Whether Docker has the image now, pulled if need be. */
export async function obtainImage(name: string): Promise<boolean> {
  if (await hasImage(name)) return true
  return (await runCommand('docker', ['pull', '--quiet', name], { timeoutMs: 600_000 })).status === 0
}
