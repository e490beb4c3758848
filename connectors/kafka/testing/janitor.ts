// What must not outlive this process: broker processes, containers, their data.
//
// A broker runs in a process group of its own (Ctrl-C and test runners signal whole groups), so nothing ends it when
// this process dies by SIGKILL. The janitor is a shell, also in a group of its own, that reads a pipe from us. The
// kernel closes that pipe however we die; the shell then kills what is still on its list and removes the data folder.
// A wrapper inside the broker's JVM that watches its stdin was rejected: a broker stopped by SIGSTOP cannot read.
import { type ChildProcess, spawn } from 'node:child_process'

const script = `
pids=; containers=; networks=
without() { rest=; for one in $2; do [ "$one" = "$1" ] || rest="$rest $one"; done; printf %s "$rest"; }
while IFS= read -r line; do
  value=\${line#* }
  case "$line" in
    "pid "*) pids="$pids $value" ;;
    "gone "*) pids=$(without "$value" "$pids") ;;
    "container "*) containers="$containers $value" ;;
    "network "*) networks="$networks $value" ;;
    "removed "*) containers=$(without "$value" "$containers") ;;
    done) exit 0 ;;
  esac
done
for one in $pids; do kill -KILL "$one" 2>/dev/null; done
for one in $containers; do docker rm -f -v "$one" >/dev/null 2>&1; done
for one in $networks; do docker network rm "$one" >/dev/null 2>&1; done
[ -n "$1" ] || exit 0
sleep 1
rm -rf -- "$1"
`

/** One per broker or cluster. Not available on Windows, where `start` returns a janitor that does nothing. */
export class Janitor {
  readonly #shell: ChildProcess | undefined

  private constructor(shell: ChildProcess | undefined) {
    this.#shell = shell
  }

  /** @param folder removed, with all in it, if this process dies before {@link dismiss}; '' for none */
  static start(folder: string): Janitor {
    if (process.platform === 'win32') return new Janitor(undefined)
    const shell = spawn('/bin/sh', ['-c', script, 'millrace-janitor', folder], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    shell.on('error', () => undefined)
    shell.stdin.on('error', () => undefined) // It was killed by somebody: we lose the safety net, not the broker.
    shell.unref()
    return new Janitor(shell)
  }

  /** From now on the process dies with us. */
  watchProcess(pid: number): void {
    this.#tell(`pid ${pid}`)
  }

  /** The process is gone; its id may be given to another and is never killed by us again. */
  forgetProcess(pid: number): void {
    this.#tell(`gone ${pid}`)
  }

  /** From now on the container dies with us (needs the `docker` command on PATH). */
  watchContainer(id: string): void {
    this.#tell(`container ${id}`)
  }

  /** The network is removed, after the containers, if this process dies before {@link dismiss}. */
  watchNetwork(id: string): void {
    this.#tell(`network ${id}`)
  }

  forgetContainer(id: string): void {
    this.#tell(`removed ${id}`)
  }

  /** Nothing is left to guard. */
  dismiss(): void {
    this.#tell('done')
    this.#shell?.stdin?.end()
  }

  #tell(line: string): void {
    const pipe = this.#shell?.stdin
    if (pipe?.writable) pipe.write(`${line}\n`)
  }
}
