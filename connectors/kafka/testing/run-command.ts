// Runs a short command to its end and returns what it said. Long-lived processes are not started here.
import { execFile } from 'node:child_process'

/** `status` is null when the command could not be started or was ended by a signal (its time was up). */
export interface CommandResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Never rejects: a missing command is `status: null` with the reason in `stderr`. Default time limit: 60 s. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { readonly timeoutMs?: number; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<CommandResult> {
  const settings = {
    timeout: options.timeoutMs ?? 60_000,
    killSignal: 'SIGKILL' as const,
    maxBuffer: 64 * 1024 * 1024,
    env: options.env ?? process.env,
  }
  return new Promise((resolve) => {
    execFile(command, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve({ status: 0, stdout, stderr })
      const status = typeof error.code === 'number' ? error.code : null
      const reason = error.killed === true ? `${command} was ended after ${settings.timeout} ms` : error.message
      resolve({ status, stdout, stderr: stderr.trim() === '' ? reason : stderr })
    })
  })
}
