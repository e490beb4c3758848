/**
 * Goal: each task is in exactly one worker, the work is balanced within every stage, and a task moves only if the balance
 * needs it; a member with another plan or store gets nothing and is told why. Method: random clusters that grow, shrink and
 * go on from the assignment before.
 */
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { kafkaSink, kafkaSource } from '../../connectors/kafka/index.ts'
import { operatorId, type TaskId, taskId } from '../../src/base/ids.ts'
import { definePipeline, utf8 } from '../../src/index.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { assignTasks, decodeBasis, encodeReport, type MemberReport } from '../../src/worker/assignment.ts'
import { type Topology, taskOf } from '../../src/worker/topology.ts'

const own = { plan: 'plan-1', store: 'store-1' }

/** Tasks of several stages, one topic each. */
function topologyOf(partitions: readonly number[]): Topology {
  const plan = makePlan(
    definePipeline('tested', (p) => {
      const source = kafkaSource({ topic: 'in', key: utf8, value: utf8 })
      p.from('in', source).to('out', kafkaSink({ topic: 'out', key: utf8, value: utf8 }))
    }),
  )
  const [stage] = plan.stages
  if (!stage) throw new Error('the plan has a stage')
  const tasks = partitions.flatMap((count, index) =>
    Array.from({ length: count }, (_, partition) => {
      const input = {
        operator: operatorId('in'),
        topic: `topic-${index}`,
        partition,
        key: utf8,
        value: utf8,
        onDecodeError: 'fail' as const,
      }
      return { id: taskId(`stage-${index}`, partition), stage, partition, inputs: [input as never], broadcasts: [] }
    }),
  )
  return { topics: new Map(), tasks, batchBytesMax: new Map() }
}

const member = (name: string, tasks: readonly TaskId[] = [], report: Partial<MemberReport> = {}) => ({
  member: name,
  instance: `instance-of-${name}`,
  topics: [],
  userData: encodeReport({ ...own, tasks, ...report }),
})

/** Tasks per member, by the partitions assigned. */
function tasksBy(topology: Topology, assignments: ReturnType<typeof assignTasks>): Map<string, TaskId[]> {
  const owners = taskOf(topology)
  const entries = [...assignments].map(([name, { partitions }]): [string, TaskId[]] => [
    name,
    partitions.flatMap(({ topic, partition }) => owners.get(`${topic}-${partition}`)?.id ?? []),
  ])
  return new Map(entries)
}

const stageOf = (id: TaskId): string => id.slice(0, id.lastIndexOf('/'))

function expectBalanced(topology: Topology, plan: ReadonlyMap<string, readonly TaskId[]>): void {
  const all = [...plan.values()].flat()
  expect([...all].sort()).toEqual(topology.tasks.map((task) => task.id).sort())
  for (const stage of new Set(topology.tasks.map((task) => stageOf(task.id)))) {
    const counts = [...plan.values()].map((tasks) => tasks.filter((id) => stageOf(id) === stage).length)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
  }
}

describe('balance', () => {
  test('a worker that joins gets its share, also where others have one task more than it would', () => {
    const topology = topologyOf([4])
    const held = (...partitions: readonly number[]) => partitions.map((partition) => taskId('stage-0', partition))
    const members = [member('a', held(0, 1)), member('b', held(2, 3)), member('c')]
    const plan = tasksBy(topology, assignTasks(topology, own, members))
    expect([...plan.values()].map((tasks) => tasks.length).sort()).toEqual([1, 1, 2])
    expectBalanced(topology, plan)
  })

  test('more workers than tasks: some have nothing, and nobody fails', () => {
    const topology = topologyOf([2])
    const plan = tasksBy(topology, assignTasks(topology, own, [member('a'), member('b'), member('c')]))
    expect([...plan.values()].map((tasks) => tasks.length)).toEqual([1, 1, 0])
  })

  test('through any history of members, each task once, balanced in every stage, and moved only if need be', () => {
    const history = fc.array(fc.subarray(['a', 'b', 'c', 'd', 'e'], { minLength: 1 }), { minLength: 1, maxLength: 8 })
    const property = fc.property(
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
      history,
      (sizes, generations) => {
        const topology = topologyOf(sizes)
        let before = new Map<string, TaskId[]>()
        for (const names of generations) {
          const members = names.map((name) => member(name, before.get(name)))
          const plan = tasksBy(topology, assignTasks(topology, own, members))
          expect([...plan.keys()].sort()).toEqual([...names].sort())
          expectBalanced(topology, plan)
          for (const stage of new Set(topology.tasks.map((task) => stageOf(task.id)))) {
            const inStage = (tasks: readonly TaskId[] = []) => tasks.filter((id) => stageOf(id) === stage)
            const all = inStage(topology.tasks.map((task) => task.id))
            const [floor, extra] = [Math.floor(all.length / names.length), all.length % names.length]
            // The most that can stay: everybody keeps up to the floor, and as many as there are extra places one more.
            const sizesBefore = names.map((name) => inStage(before.get(name)).length)
            const above = sizesBefore.filter((size) => size > floor).length
            const most = sizesBefore.reduce((sum, size) => sum + Math.min(size, floor), 0) + Math.min(above, extra)
            const stayed = names.flatMap((name) =>
              inStage(plan.get(name)).filter((id) => before.get(name)?.includes(id)),
            )
            expect(stayed).toHaveLength(most)
          }
          before = plan
        }
      },
    )
    fc.assert(property, { numRuns: 500 })
  })

  test('the same members get the same plan, in whatever order they are listed', () => {
    const topology = topologyOf([5, 3])
    const members = [member('a'), member('b'), member('c')]
    expect(assignTasks(topology, own, members.toReversed())).toEqual(new Map([...assignTasks(topology, own, members)]))
  })

  test('two members that claim one task: one of them has it', () => {
    const topology = topologyOf([2])
    const claim = [taskId('stage-0', 0)]
    const plan = tasksBy(topology, assignTasks(topology, own, [member('a', claim), member('b', claim)]))
    expectBalanced(topology, plan)
  })
})

describe('members that do not fit', () => {
  const topology = topologyOf([4])
  const cases = [
    ['another plan', member('b', [], { plan: 'plan-2' }), /plan plan-2.*group runs plan-1/],
    ['another store', member('b', [], { store: 'store-2' }), /store store-2.*group store-1/],
    ['another release', { ...member('b'), userData: Buffer.from('{"f":99}') }, /another release/],
    ['an unreadable report', { ...member('b'), userData: Buffer.from([255, 0]) }, /another release/],
  ] as const

  test.each(cases)('%s: it gets nothing and is told why; the others get all', (_, stranger, why) => {
    const assignments = assignTasks(topology, own, [member('a'), stranger, member('c')])
    const plan = tasksBy(topology, assignments)
    expect(plan.get('b')).toEqual([])
    plan.delete('b')
    expectBalanced(topology, plan)
    const refusal = decodeBasis(assignments.get('b')?.userData ?? Buffer.alloc(0))?.refusal
    expect(refusal).toMatch(why)
    expect(refusal).toContain('instance-of-b')
    expect(decodeBasis(assignments.get('a')?.userData ?? Buffer.from('x'))?.refusal).toBeUndefined()
  })
})
