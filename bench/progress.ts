/** What is shown while runs go on, and how a series of runs is ended by hand. */

const echoMs = 2_000

/** One line that renews itself in a terminal, plain lines elsewhere. */
export class Progress {
  #last = 0
  /** Ctrl-C or SIGTERM: the run under way is finished or given up, and what was measured is written. A later one ends at once. */
  #interrupted = false

  constructor() {
    let heardAtMs = Number.POSITIVE_INFINITY
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        // The processes above pass on what the terminal has told us already.
        if (performance.now() - heardAtMs > echoMs) process.exit(130)
        if (this.#interrupted) return
        heardAtMs = performance.now()
        this.#interrupted = true
        this.say('ending after this run …')
      })
    }
  }

  get interrupted(): boolean {
    return this.#interrupted
  }

  say(line: string): void {
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K${line}\n` : `${line}\n`)
  }

  live(line: string): void {
    if (!process.stderr.isTTY || performance.now() - this.#last < 100) return
    this.#last = performance.now()
    process.stderr.write(`\r\x1b[2K${line}`)
  }

  /** Runs `work` for each item; an interruption ends the series, even if it broke what was under way. */
  async series<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    for (const item of items) {
      if (this.#interrupted) return
      try {
        await work(item)
      } catch (error) {
        if (!this.#interrupted) throw error
      }
    }
  }
}
