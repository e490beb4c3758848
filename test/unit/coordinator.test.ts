/**
 * Goal: checkpoints begin when they are due, one at a time; time-outs and failures roll back once; nothing of a disposed
 * coordinator acts any more. Method: the coordinator with actions that the test ends one by one, on Jest's clock.
 */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { type CheckpointId, checkpointId, type TaskId, taskId } from '../../src/base/ids.ts'
import type { TaskSnapshot } from '../../src/base/messages.ts'
import {
  CheckpointCoordinator,
  type CheckpointOptions,
  type CheckpointPhases,
} from '../../src/checkpoint/coordinator.ts'

const tasks = [taskId('stage', 0), taskId('stage', 1)]

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

/** Actions that wait until the test lets them end. */
class Actions {
  readonly log: string[] = []
  readonly rolledBack: Error[] = []
  snapshots: readonly TaskSnapshot[] = []
  phases: CheckpointPhases | undefined
  readonly #pending = new Map<string, PromiseWithResolvers<void>>()

  #start(what: string): Promise<void> {
    this.log.push(what)
    const pending = Promise.withResolvers<void>()
    this.#pending.set(what, pending)
    return pending.promise
  }

  readonly actions = {
    inject: (id: CheckpointId) => void this.log.push(`inject ${id}`),
    prepare: (id: CheckpointId) => this.#start(`prepare ${id}`),
    write: (id: CheckpointId, snapshots: readonly TaskSnapshot[]) => {
      this.snapshots = snapshots
      return this.#start(`write ${id}`)
    },
    commit: (id: CheckpointId) => this.#start(`commit ${id}`),
    confirm: (id: CheckpointId) => this.#start(`confirm ${id}`),
    committed: (id: CheckpointId, phases: CheckpointPhases) => {
      this.phases = phases
      return this.#start(`committed ${id}`)
    },
    rollBack: (error: Error) => void this.rolledBack.push(error),
  }

  /** Ends what is under way, then gives callbacks their turn. */
  async end(what: string, error?: Error): Promise<void> {
    const pending = this.#pending.get(what)
    if (!pending) throw new Error(`'${what}' is not under way; so far: ${this.log.join(', ')}`)
    this.#pending.delete(what)
    if (error) pending.reject(error)
    else pending.resolve()
    await jest.advanceTimersByTimeAsync(0)
  }
}

const snapshot = (task: TaskId, id: CheckpointId): TaskSnapshot => ({
  task,
  checkpoint: id,
  positions: [],
  segment: null,
  mark: 'delta',
  keepsSegments: false,
  handles: [],
})

function start(options: Partial<CheckpointOptions> = {}, last = 4) {
  const fake = new Actions()
  const settings = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 5_000, ...options }
  const coordinator = new CheckpointCoordinator(settings, fake.actions, tasks, checkpointId(last))
  const ack = (id: number): void => {
    for (const task of tasks) coordinator.delivered(task, checkpointId(id))
    for (const task of tasks) coordinator.acked(snapshot(task, checkpointId(id)))
  }
  /** The whole of a checkpoint that is under way. */
  const finish = async (id: number): Promise<void> => {
    ack(id)
    for (const what of ['prepare', 'write', 'commit', 'confirm', 'committed']) await fake.end(`${what} ${id}`)
  }
  return { fake, coordinator, ack, finish }
}

describe('one checkpoint', () => {
  test('goes through its steps in order, with all snapshots, and tells how long each took', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    expect(coordinator.inFlight).toBe(true)
    await jest.advanceTimersByTimeAsync(10)
    ack(5)
    await jest.advanceTimersByTimeAsync(20)
    await fake.end('prepare 5')
    await jest.advanceTimersByTimeAsync(30)
    await fake.end('write 5')
    await jest.advanceTimersByTimeAsync(40)
    await fake.end('commit 5')
    await jest.advanceTimersByTimeAsync(50)
    await fake.end('confirm 5')
    expect(fake.phases).toEqual({ align: 10, snapshot: 20, write: 30, commit: 40, confirm: 50, total: 150 })
    expect(coordinator.inFlight).toBe(true)
    await fake.end('committed 5')
    expect(coordinator.inFlight).toBe(false)
    expect(fake.snapshots.map((each) => each.task)).toEqual(tasks)
    expect(fake.log).toEqual(['inject 5', 'prepare 5', 'write 5', 'commit 5', 'confirm 5', 'committed 5'])
  })

  test('is the only one: another trigger meanwhile does nothing, up to the end of `committed`', async () => {
    const { fake, coordinator, ack } = start()
    for (let i = 0; i < 3; i++) coordinator.trigger()
    ack(5)
    for (const what of ['prepare', 'write', 'commit', 'confirm']) {
      coordinator.trigger()
      await fake.end(`${what} 5`)
    }
    coordinator.trigger()
    expect(coordinator.dueInMs()).toBeUndefined()
    await fake.end('committed 5')
    coordinator.trigger()
    expect(fake.log.filter((each) => each.startsWith('inject'))).toEqual(['inject 5', 'inject 6'])
  })

  test('takes one snapshot of each task, whatever is doubled or stale', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(4)
    const [first = taskId('none', 0)] = tasks
    for (let i = 0; i < 3; i++) coordinator.acked(snapshot(first, checkpointId(5)))
    ack(6)
    expect(fake.log).toEqual(['inject 5'])
    ack(5)
    await fake.end('prepare 5')
    expect(fake.snapshots.map((each) => [each.task, each.checkpoint])).toEqual(tasks.map((task) => [task, 5n]))
  })
})

describe('when the next is due', () => {
  test('one that is hastened does not wait for the interval, but for the pause', async () => {
    const { coordinator, finish } = start({ minPauseMs: 100 })
    coordinator.trigger()
    await finish(5)
    expect(coordinator.dueInMs()).toBe(1_000)
    coordinator.hasten()
    expect(coordinator.dueInMs()).toBe(100)
    coordinator.trigger()
    await finish(6)
    expect(coordinator.dueInMs()).toBe(1_000)
  })

  test('the first comes early, further ones by the interval from start to start', async () => {
    const { coordinator, finish } = start()
    expect(coordinator.dueInMs()).toBeLessThanOrEqual(30)
    await jest.advanceTimersByTimeAsync(30)
    expect(coordinator.dueInMs()).toBe(0)
    coordinator.trigger()
    expect(coordinator.dueInMs()).toBeUndefined()
    await jest.advanceTimersByTimeAsync(400)
    await finish(5)
    expect(coordinator.dueInMs()).toBe(600)
    await jest.advanceTimersByTimeAsync(900)
    expect(coordinator.dueInMs()).toBe(0)
  })

  test('the pause counts from end to start and wins if it is longer', async () => {
    const { coordinator, finish } = start({ minPauseMs: 800 })
    coordinator.trigger()
    await jest.advanceTimersByTimeAsync(700)
    await finish(5)
    expect(coordinator.dueInMs()).toBe(800)
    await jest.advanceTimersByTimeAsync(300)
    expect(coordinator.dueInMs()).toBe(500)
  })

  test('a checkpoint that took longer than the interval is followed at once', async () => {
    const { coordinator, finish } = start()
    coordinator.trigger()
    await jest.advanceTimersByTimeAsync(3_000)
    await finish(5)
    expect(coordinator.dueInMs()).toBe(0)
  })
})

describe('failures', () => {
  test.each(['prepare', 'write', 'commit', 'confirm'])('of %s roll back once; then nothing acts', async (broken) => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(5)
    for (const what of ['prepare', 'write', 'commit', 'confirm']) {
      if (what === broken) break
      await fake.end(`${what} 5`)
    }
    const error = new Error('broken')
    await fake.end(`${broken} 5`, error)
    expect(fake.rolledBack).toEqual([error])
    const before = [...fake.log]
    coordinator.trigger()
    ack(5)
    await jest.advanceTimersByTimeAsync(100_000)
    expect(fake.log).toEqual(before)
    expect(fake.rolledBack).toHaveLength(1)
    expect([coordinator.inFlight, coordinator.dueInMs()]).toEqual([false, undefined])
  })

  test('of the participants behind the last agent roll back too', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(5)
    for (const what of ['prepare', 'write', 'commit', 'confirm']) await fake.end(`${what} 5`)
    await fake.end('committed 5', new Error('participant'))
    expect(fake.rolledBack.map((error) => error.message)).toEqual(['participant'])
  })

  test('a time-out names what is missing, before the file is durable', async () => {
    const { fake, coordinator } = start()
    coordinator.trigger()
    for (const task of tasks) coordinator.delivered(task, checkpointId(5))
    coordinator.acked(snapshot(taskId('stage', 1), checkpointId(5)))
    await jest.advanceTimersByTimeAsync(4_999)
    expect(fake.rolledBack).toEqual([])
    await jest.advanceTimersByTimeAsync(1)
    expect(fake.rolledBack).toMatchObject([{ code: 'CHECKPOINT_TIMEOUT', message: expect.stringContaining('stage/0') }])
    expect(fake.rolledBack[0]?.message).not.toContain('stage/1')
  })

  test('a time-out while the file is written rolls back, and the late end of the write decides nothing', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(5)
    await fake.end('prepare 5')
    await jest.advanceTimersByTimeAsync(5_000)
    expect(fake.rolledBack).toMatchObject([{ message: expect.stringContaining('the store') }])
    await fake.end('write 5')
    expect(fake.log).not.toContain('commit 5')
  })

  test('no time-out once the file is durable: a commit has deadlines of its own', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(5)
    await fake.end('prepare 5')
    await fake.end('write 5')
    await jest.advanceTimersByTimeAsync(60_000)
    expect(fake.rolledBack).toEqual([])
  })

  test('the time-out of one checkpoint does not touch the next', async () => {
    const { fake, coordinator, finish } = start()
    coordinator.trigger()
    await jest.advanceTimersByTimeAsync(4_000)
    await finish(5)
    coordinator.trigger()
    await jest.advanceTimersByTimeAsync(4_000)
    expect(fake.rolledBack).toEqual([])
    await jest.advanceTimersByTimeAsync(1_000)
    expect(fake.rolledBack).toMatchObject([{ message: expect.stringContaining('checkpoint 6') }])
  })
})

describe('waiting for the next', () => {
  test('it begins one if none is under way, and resolves when it is committed', async () => {
    const { coordinator, finish } = start()
    let done = false
    const waiting = coordinator.next().then(() => {
      done = true
    })
    expect(coordinator.inFlight).toBe(true)
    expect(done).toBe(false)
    await finish(5)
    await waiting
  })

  test('it rejects with the failure', async () => {
    const { fake, coordinator, ack } = start()
    const waiting = expect(coordinator.next()).rejects.toThrow('broken')
    ack(5)
    await fake.end('prepare 5', new Error('broken'))
    await waiting
  })

  test('it rejects when the attempt is disposed, and at once afterwards', async () => {
    const { coordinator } = start()
    const waiting = expect(coordinator.next()).rejects.toThrow('over')
    coordinator.dispose(new Error('over'))
    await waiting
    await expect(coordinator.next()).rejects.toThrow('over')
  })

  test('it rejects at once after a failure', async () => {
    const { fake, coordinator, ack } = start()
    coordinator.trigger()
    ack(5)
    await fake.end('prepare 5', new Error('broken'))
    await expect(coordinator.next()).rejects.toThrow('broken')
  })
})

test('nothing of a disposed coordinator acts, whatever ends late', async () => {
  const { fake, coordinator, ack } = start()
  coordinator.trigger()
  ack(5)
  coordinator.dispose(new Error('over'))
  await fake.end('prepare 5')
  coordinator.trigger()
  await jest.advanceTimersByTimeAsync(100_000)
  expect(fake.log).toEqual(['inject 5', 'prepare 5'])
  expect(fake.rolledBack).toEqual([])
  expect(jest.getTimerCount()).toBe(0)
})
