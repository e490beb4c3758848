// The leader's plan: each task to exactly one worker, balanced, and where it was before if that keeps the balance (sticky):
// a task that stays keeps its state in memory.
import { assert } from '../base/assert.ts'
import type { TaskId } from '../base/ids.ts'
import type { GroupMemberInfo, MemberAssignment } from '../dataflow/ports.ts'
import type { Topology } from './topology.ts'

const FORMAT = 1

/** What a member tells the leader when it joins. */
export interface MemberReport {
  readonly plan: string
  readonly store: string
  readonly tasks: readonly TaskId[]
  /** Changes to make the group assign anew. */
  readonly again?: string
  /** Nobody gets a task: all workers are to end (stop-request.ts). */
  readonly wants?: 'stop'
}

export function encodeReport(report: MemberReport): Buffer {
  return Buffer.from(JSON.stringify({ f: FORMAT, ...report }))
}

function decodeReport(bytes: Buffer): MemberReport | undefined {
  try {
    const report = JSON.parse(bytes.toString('utf8')) as MemberReport & { f: number }
    return report.f === FORMAT ? report : undefined
  } catch {
    return undefined
  }
}

/** What an assignment was made for, or why there is none. */
export interface AssignmentBasis {
  readonly plan: string
  readonly store: string
  /** How many tasks the leader knows. */
  readonly tasks: number
  readonly refusal?: string
  /** The workers were asked to end. */
  readonly stop?: boolean
}

function encodeBasis(basis: AssignmentBasis): Buffer {
  return Buffer.from(JSON.stringify({ f: FORMAT, ...basis }))
}

/** undefined: nothing of ours. */
export function decodeBasis(userData: Buffer): AssignmentBasis | undefined {
  try {
    const basis = JSON.parse(userData.toString('utf8')) as AssignmentBasis & { f: number }
    return basis.f === FORMAT ? basis : undefined
  } catch {
    return undefined
  }
}

/** Members that run another plan or store are refused; the others get all tasks. */
export function assignTasks(
  topology: Topology,
  own: { readonly plan: string; readonly store: string },
  members: readonly GroupMemberInfo[],
): Map<string, MemberAssignment> {
  const assignments = new Map<string, MemberAssignment>()
  const basis = { ...own, tasks: topology.tasks.length }
  const accepted = new Map<string, MemberReport>()
  for (const { member, instance, userData } of members) {
    const report = decodeReport(userData)
    const refusal = refuse(instance, report, own)
    if (refusal || !report)
      assignments.set(member, { partitions: [], userData: encodeBasis({ ...basis, refusal: refusal ?? 'unreadable' }) })
    else accepted.set(member, report)
  }
  if ([...accepted.values()].some(({ wants }) => wants === 'stop')) {
    const nothing = { partitions: [], userData: encodeBasis({ ...basis, stop: true }) }
    for (const member of accepted.keys()) assignments.set(member, nothing)
    return assignments
  }
  const plan = balance(
    topology.tasks.map((task) => task.id),
    accepted,
  )
  const tasks = new Map(topology.tasks.map((task) => [task.id, task]))
  const seen = new Set<TaskId>()
  for (const [member, ids] of plan) {
    for (const id of ids) {
      assert(!seen.has(id), `I9: task ${id} was assigned twice`)
      seen.add(id)
    }
    const partitions = ids
      .flatMap((id) => tasks.get(id)?.inputs ?? [])
      .map(({ topic, partition }) => ({ topic, partition }))
    assignments.set(member, { partitions, userData: encodeBasis(basis) })
  }
  assert(
    accepted.size === 0 || seen.size === topology.tasks.length,
    `I9: ${seen.size} of ${topology.tasks.length} tasks assigned`,
  )
  return assignments
}

function refuse(
  instance: string,
  report: MemberReport | undefined,
  own: { readonly plan: string; readonly store: string },
): string | undefined {
  if (!report)
    return `worker ${instance} runs another release, whose group protocol this one cannot read; deploy one release at a time`
  if (report.plan !== own.plan)
    return `worker ${instance} runs plan ${report.plan}, the group runs ${own.plan}: stop the old deployment before starting a changed pipeline`
  if (report.store !== own.store)
    return `worker ${instance} uses checkpoint store ${report.store}, the group ${own.store}: all workers must share one store (checkpoint.store, MILLRACE_STORE)`
  return undefined
}

function balance(tasks: readonly TaskId[], members: ReadonlyMap<string, MemberReport>): Map<string, TaskId[]> {
  const names = [...members.keys()].sort()
  const plan = new Map<string, TaskId[]>(names.map((name) => [name, []]))
  if (names.length === 0) return plan
  // Stage by stage, so that every worker gets its share of each: stages cost differently.
  const stages = Map.groupBy(tasks, (task) => task.slice(0, task.lastIndexOf('/')))
  for (const stageTasks of stages.values()) balanceStage(stageTasks, names, members, plan)
  return plan
}

/** Everybody gets the same number, and the rest goes one by one: whoever owned more gives up what is above its share. */
function balanceStage(
  tasks: readonly TaskId[],
  names: readonly string[],
  members: ReadonlyMap<string, MemberReport>,
  plan: ReadonlyMap<string, TaskId[]>,
): void {
  const share = Math.floor(tasks.length / names.length)
  let rest = tasks.length % names.length
  const counts = new Map(names.map((name) => [name, 0]))
  const count = (name: string): number => counts.get(name) ?? 0
  const give = (name: string, task: TaskId): void => {
    if (count(name) === share) rest--
    plan.get(name)?.push(task)
    counts.set(name, count(name) + 1)
  }
  /** Tasks stay with owners that `mayKeep`; gives the others. */
  const keep = (some: readonly TaskId[], mayKeep: (name: string) => boolean): TaskId[] =>
    some.filter((task) => {
      const owner = names.find((name) => members.get(name)?.tasks.includes(task) && mayKeep(name))
      if (owner !== undefined) give(owner, task)
      return owner === undefined
    })
  const aboveShare = keep(tasks, (name) => count(name) < share)
  const left = keep(aboveShare, (name) => count(name) === share && rest > 0)
  for (const task of left) {
    const total = (name: string): number => plan.get(name)?.length ?? 0
    const [least] = [...names].sort((a, b) => count(a) - count(b) || total(a) - total(b))
    if (least !== undefined) give(least, task)
  }
}
