/** Tasks on local disk for the tests of one file: closed, and their folder removed, after each of them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from '@jest/globals'
import type { Serde, StateDescriptors } from '../../src/index.ts'
import { type DiskSizes, TaskOnDisk } from './task-on-disk.ts'

export class TasksOnDisk {
  folder = ''
  readonly #opened: TaskOnDisk[] = []

  /** To be called at the top of the file. */
  constructor() {
    beforeEach(async () => {
      this.folder = await mkdtemp(join(tmpdir(), 'millrace-disk-'))
    })
    afterEach(async () => {
      for (const task of this.#opened.splice(0)) await task[Symbol.asyncDispose]()
      await rm(this.folder, { recursive: true, force: true })
    })
  }

  keep(task: TaskOnDisk): TaskOnDisk {
    this.#opened.push(task)
    return task
  }

  async open(states: StateDescriptors, key: Serde<unknown>, sizes: DiskSizes): Promise<TaskOnDisk> {
    return this.keep(await TaskOnDisk.open(states, key, sizes, this.folder))
  }

  /** The next process, which finds the disk as it was. */
  async comeBack(task: TaskOnDisk): Promise<TaskOnDisk> {
    return this.keep(await task.crash('same disk'))
  }
}
