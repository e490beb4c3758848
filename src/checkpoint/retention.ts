// Deletes checkpoint files that nothing can need any more. File f goes only if, for every task in it, the group's confirmed
// pointer has a higher id, and neither that pointer nor the R−1 checkpoints before it (parent links) reach f. Unreachable
// stays unreachable, so a late delete is harmless. Each worker looks after its own files; the leader also after those of
// instances that are no members any more.

import type { CheckpointStore } from '../base/checkpoint-store.ts'
import { startInterval, type Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { TaskId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import { decodeFile, fileName, type Manifest, type Pointer, parseFileName, pointersOf } from './file.ts'

const EVERY_MS = 5_000
const CACHE_MAX = 500

export interface RetentionOptions {
  readonly cluster: {
    committedOffsets(
      group: string,
      partitions: null,
    ): Promise<readonly { readonly offset: bigint; readonly metadata: string }[]>
  }
  readonly group: string
  readonly store: CheckpointStore
  readonly retained: number
  readonly instance: string
  readonly log: Logger
}

export class Retention {
  readonly #options: RetentionOptions
  readonly #manifests = new Map<string, Manifest>()
  readonly #timer: Timer
  #members: readonly string[] | undefined
  #busy = false
  #fresh = 0

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#timer = startInterval(EVERY_MS, () => void this.#run())
  }

  committed(manifest: Manifest): void {
    this.#fresh++
    const { checkpoint, instance, incarnation } = manifest
    this.#manifests.set(fileName(checkpoint, instance, incarnation), manifest)
    if (this.#manifests.size > CACHE_MAX) {
      const [oldest] = this.#manifests.keys()
      if (oldest !== undefined) this.#manifests.delete(oldest)
    }
  }

  /** On the leader: the instances of the generation, whose files are their own business. */
  lookAfter(members: readonly string[] | undefined): void {
    this.#members = members
  }

  #ours(instance: string): boolean {
    return instance === this.#options.instance || (this.#members !== undefined && !this.#members.includes(instance))
  }

  stop(): void {
    this.#timer.cancel()
  }

  async #run(): Promise<void> {
    if (this.#busy || this.#fresh === 0) return
    this.#busy = true
    this.#fresh = 0
    try {
      await this.collect()
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'cleaning up checkpoint files failed; trying again later')
    } finally {
      this.#busy = false
    }
  }

  /** One pass; gives the deleted names. */
  async collect(): Promise<string[]> {
    const { cluster, group, store } = this.#options
    const rows = await cluster.committedOffsets(group, null)
    const pointers = pointersOf(rows)
    const current = await this.#currentByTask([...pointers.values()])
    const reachable = await reachableFiles([...pointers.keys()], this.#options.retained, (name) => this.#load(name))
    const deleted: string[] = []
    for (const name of await store.list()) {
      const parsed = parseFileName(name)
      if (!parsed || !this.#ours(parsed.instance) || reachable.has(name)) continue
      const manifest = await this.#load(name)
      const passed = manifest?.tasks.every((entry) => (current.get(entry.task) ?? -1n) > parsed.checkpoint)
      if (!passed) continue
      await store.delete(name)
      this.#manifests.delete(name)
      deleted.push(name)
    }
    return deleted
  }

  async #currentByTask(pointers: readonly Pointer[]): Promise<Map<TaskId, bigint>> {
    const current = new Map<TaskId, bigint>()
    for (const pointer of pointers) {
      for (const entry of (await this.#load(pointer.file))?.tasks ?? []) {
        const known = current.get(entry.task)
        // A task that moved is in an older file of its old worker, too: the newest pointer is its own.
        if (known === undefined || pointer.checkpoint > known) current.set(entry.task, pointer.checkpoint)
      }
    }
    return current
  }

  async #load(name: string): Promise<Manifest | undefined> {
    const known = this.#manifests.get(name)
    if (known) return known
    const bytes = await this.#options.store.read(name)
    if (!bytes) return undefined
    const manifest = decodeFile(name, bytes)
    this.#manifests.set(name, manifest)
    return manifest
  }
}

/** What is needed of a store while committed offsets point to these files: they, their state, and the checkpoints before them. */
export async function reachableFiles(
  current: readonly string[],
  retained: number,
  load: (file: string) => Promise<Manifest | undefined>,
): Promise<Set<string>> {
  const reachable = new Set<string>()
  let level = current
  for (let back = 0; back < retained && level.length > 0; back++) {
    const parents = new Set<string>()
    for (const file of level) {
      reachable.add(file)
      for (const entry of (await load(file))?.tasks ?? []) {
        for (const ref of entry.chain) reachable.add(ref.file)
        if (entry.parent) parents.add(entry.parent.file)
      }
    }
    level = [...parents]
  }
  return reachable
}
