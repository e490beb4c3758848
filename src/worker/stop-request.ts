// Stops a pipeline wherever its workers run, by way of its group: who asks joins it, and whoever leads then gives nobody any task and
// says why. Before they rejoin, workers bring what they have to a confirmed checkpoint; with such an assignment they leave.
import { delay, monotonicMs } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Cluster } from '../dataflow/ports.ts'
import { assignTasks, decodeBasis, encodeReport } from './assignment.ts'
import { identityOf } from './generations.ts'
import type { Plan, Settings } from './job.ts'
import type { Topology } from './topology.ts'

const LOOK_EVERY_MS = 100
const ASK_EVERY_MS = 2_000

/** Of a group's state: no worker is in it. */
export function isEmpty(state: string): boolean {
  return state === 'Empty' || state === 'Dead'
}

/** @throws GROUP_NOT_EMPTY */
export async function checkStopped(cluster: Cluster, group: string, pipeline: string): Promise<void> {
  const state = await cluster.groupState(group)
  if (isEmpty(state)) return
  throw new MillraceError(
    'GROUP_NOT_EMPTY',
    `group ${group} is ${state}: stop all workers of '${pipeline}' first (a killed worker's place ends after its session timeout)`,
  )
}

export interface StopRequest {
  readonly cluster: Cluster
  readonly plan: Plan
  readonly settings: Settings
  readonly topology: Topology
  readonly storeId: string
  readonly log: Logger
}

/** Resolves when no worker is left. @throws MEMBER_UNEQUAL, DRAIN_TIMEOUT */
export async function requestStop(request: StopRequest): Promise<void> {
  const { cluster, plan, settings, log } = request
  const deadline = monotonicMs() + settings.rebalanceTimeoutMs + settings.graceMs + settings.sessionTimeoutMs
  const empty = async (): Promise<boolean> => isEmpty(await cluster.groupState(plan.group))
  if (await empty()) return
  log.info({ group: plan.group }, 'asking the workers to stop')
  // A worker that was late for one assignment gets the next.
  for (let asked = Number.NEGATIVE_INFINITY; !(await empty()); ) {
    if (monotonicMs() - asked > ASK_EVERY_MS) {
      await joinAndLeave(request)
      asked = monotonicMs()
    }
    if (monotonicMs() > deadline) {
      const text = `workers of '${plan.pipeline}' were asked to stop, and group ${plan.group} still has members: stop them where they run`
      throw new MillraceError('DRAIN_TIMEOUT', text)
    }
    await delay(LOOK_EVERY_MS)
  }
}

async function joinAndLeave({ cluster, plan, settings, topology, storeId }: StopRequest): Promise<void> {
  const identity = identityOf(plan, settings, storeId)
  const member = cluster.member({
    group: plan.group,
    instance: `${settings.instance}-stop`,
    topics: () => [...new Set(topology.tasks.flatMap((task) => task.inputs.map((input) => input.topic)))],
    sessionTimeoutMs: settings.sessionTimeoutMs,
    rebalanceTimeoutMs: settings.rebalanceTimeoutMs,
    heartbeatMs: settings.heartbeatMs,
    userData: () => encodeReport({ ...identity, tasks: [], wants: 'stop' }),
    assign: async (members) => assignTasks(topology, identity, members),
  })
  try {
    const joined = await member.join()
    const refusal = decodeBasis(joined.userData)?.refusal
    if (refusal !== undefined) throw new MillraceError('MEMBER_UNEQUAL', refusal)
  } finally {
    await member.leave().catch(() => undefined)
    member.close()
  }
}
