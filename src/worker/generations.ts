// Membership as the worker sees it: what it says of itself, the plan that it makes when it leads, and whether the assignment
// that it got belongs to the pipeline that it runs. A static member that restarts gets its old assignment without the leader
// being asked: if that was made for another plan, store or set of tasks, the member asks for a new one by joining again.
import { nonce } from '../base/clock.ts'
import { MillraceError } from '../base/errors.ts'
import type { TaskId } from '../base/ids.ts'
import type { Cluster, GroupMember, JoinedGeneration } from '../dataflow/ports.ts'
import { assignTasks, decodeBasis, encodeReport } from './assignment.ts'
import type { Plan, Settings } from './job.ts'
import type { Topology } from './topology.ts'

export interface GenerationsOptions {
  readonly plan: Plan
  readonly settings: Settings
  readonly instance: string
  readonly cluster: Cluster
  readonly storeId: string
  readonly topology: Topology
  readonly ownedTasks: () => readonly TaskId[]
}

/** What all members must have in common. */
export function identityOf(
  plan: Plan,
  settings: Settings,
  storeId: string,
): { readonly plan: string; readonly store: string } {
  // Exactly-once beside at-least-once would be neither.
  return { plan: `${plan.hash} (${settings.mode})`, store: storeId }
}

export class Generations {
  readonly member: GroupMember
  readonly #basis: { readonly plan: string; readonly store: string; readonly tasks: number }
  readonly #instance: string
  #again = ''

  constructor(options: GenerationsOptions) {
    const { plan, settings, instance, topology, storeId, ownedTasks } = options
    this.#instance = instance
    const identity = identityOf(plan, settings, storeId)
    this.#basis = { ...identity, tasks: topology.tasks.length }
    const topics = [...new Set(topology.tasks.flatMap((task) => task.inputs.map((input) => input.topic)))]
    this.member = options.cluster.member({
      group: plan.group,
      instance,
      topics: () => topics,
      sessionTimeoutMs: settings.sessionTimeoutMs,
      rebalanceTimeoutMs: settings.rebalanceTimeoutMs,
      heartbeatMs: settings.heartbeatMs,
      userData: () => encodeReport({ ...identity, tasks: ownedTasks(), again: this.#again }),
      assign: async (members) => assignTasks(topology, identity, members),
    })
  }

  /** @throws MEMBER_UNEQUAL, TOPIC_PARTITIONS_GREW, GENERATION_STALE when `signal` aborts */
  async join(signal: AbortSignal): Promise<JoinedGeneration & { readonly stop: boolean }> {
    let joined = await this.#joinUnless(signal)
    if (this.#differs(joined)) {
      // Changed metadata makes the group assign anew; then the leader's word counts.
      this.#again = nonce()
      joined = await this.#joinUnless(signal)
    }
    const basis = decodeBasis(joined.userData)
    if (
      basis?.refusal !== undefined ||
      (basis && (basis.plan !== this.#basis.plan || basis.store !== this.#basis.store))
    ) {
      await this.member.leave().catch(() => undefined)
      const text =
        basis.refusal ??
        `worker ${this.#instance} runs plan ${this.#basis.plan} on store ${this.#basis.store}; the group runs ${basis.plan} on ${basis.store}`
      throw new MillraceError('MEMBER_UNEQUAL', text)
    }
    if (basis && basis.tasks > this.#basis.tasks) {
      throw new MillraceError(
        'TOPIC_PARTITIONS_GREW',
        `the group has ${basis.tasks} tasks, this worker knows ${this.#basis.tasks}: topics have grown; restarting to read them`,
      )
    }
    return { ...joined, stop: basis?.stop === true }
  }

  /** A refusal is an answer; a leader that knows fewer tasks than we do finds the new ones by itself, unless we lead. */
  #differs(joined: JoinedGeneration): boolean {
    const basis = decodeBasis(joined.userData)
    if (!basis || basis.refusal !== undefined) return false
    const other = basis.plan !== this.#basis.plan || basis.store !== this.#basis.store
    return other || (joined.leader && basis.tasks !== this.#basis.tasks)
  }

  /** A pending JoinGroup knows no signal: a stop closes the membership instead, and its connection with the process. */
  async #joinUnless(signal: AbortSignal): Promise<JoinedGeneration> {
    let give: () => void = () => {}
    const stopped = new Promise<never>((_, reject) => {
      give = () => reject(new MillraceError('GENERATION_STALE', 'joining was given up: the worker stops'))
      if (signal.aborted) give()
      signal.addEventListener('abort', give, { once: true })
    })
    try {
      return await Promise.race([this.member.join(signal), stopped])
    } finally {
      signal.removeEventListener('abort', give)
    }
  }
}
