// A disk that takes nothing more, without a file system of its own: a process that may write no file beyond so many bytes. What it
// writes then fails with EFBIG, in part or at all, where a full disk says ENOSPC; Node ignores the signal that comes with it.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** Of a running process: from now on, until it is `unlimited` again. */
export async function limitFiles(pid: number, bytes: number | 'unlimited'): Promise<void> {
  // The soft limit only: the hard one could not be raised again.
  await promisify(execFile)('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`])
}
