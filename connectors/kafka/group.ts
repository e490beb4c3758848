// Membership in the consumer group: classic protocol, static members, on a connection of its own (a pending JoinGroup
// blocks everything behind it). Kafka's own tools can read subscription and assignment.
import { delay, jitter, monotonicMs, startInterval, type Timer } from '../../src/base/clock.ts'
import { isCode, MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Logger } from '../../src/base/log.ts'
import type { GroupMember, JoinedGeneration, MemberAssignment, MemberOptions } from '../../src/dataflow/ports.ts'
import type { KafkaCluster, Target } from './cluster.ts'
import { Code, codeName, kafkaError } from './wire/codes.ts'
import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  Heartbeat,
  JoinGroup,
  type JoinGroupResponse,
  LeaveGroup,
  SyncGroup,
} from './wire/group-requests.ts'

export const PROTOCOL = 'millrace-sticky'

export class KafkaGroupMember implements GroupMember {
  onRebalance: (reason: 'rebalance' | 'expelled') => void = () => {}
  onFenced: (error: Error) => void = () => {}
  lastHeartbeatMs = 0
  readonly #cluster: KafkaCluster
  readonly #options: MemberOptions
  readonly #log: Logger
  readonly #target: Target
  #member = ''
  #generation = -1
  #timer: Timer | undefined
  #beating = false
  #closed = false

  constructor(cluster: KafkaCluster, options: MemberOptions, log: Logger) {
    this.#cluster = cluster
    this.#options = options
    this.#log = log
    this.#target = { kind: 'coordinator', type: 'group', key: options.group }
  }

  async join(signal?: AbortSignal): Promise<JoinedGeneration> {
    this.#stopHeartbeat()
    while (!signal?.aborted && !this.#closed) {
      const joined = await this.#joinOnce(signal)
      if (joined) return joined
      await delay(20 + 30 * jitter(), signal)
    }
    throw new MillraceError('GENERATION_STALE', `joining group ${this.#options.group} was given up`)
  }

  async #joinOnce(signal?: AbortSignal): Promise<JoinedGeneration | undefined> {
    const { group, instance, sessionTimeoutMs, rebalanceTimeoutMs } = this.#options
    const again: readonly number[] = [
      Code.MEMBER_ID_REQUIRED,
      Code.UNKNOWN_MEMBER_ID,
      Code.REBALANCE_IN_PROGRESS,
      Code.ILLEGAL_GENERATION,
    ]
    const metadata = encodeSubscription(this.#options.topics(), this.#options.userData())
    const joined = await this.#cluster.call(
      JoinGroup,
      { group, sessionTimeoutMs, rebalanceTimeoutMs, member: this.#member, instance, protocol: PROTOCOL, metadata },
      {
        to: this.#target,
        purpose: 'group',
        what: `joining group ${group} as ${instance}`,
        codeOf: (response) => response.code,
        accept: (code) => again.includes(code),
        timeoutMs: rebalanceTimeoutMs + 10_000,
        deadlineMs: rebalanceTimeoutMs + 60_000,
        signal,
      },
    )
    if (joined.code !== Code.NONE) {
      this.#member = joined.code === Code.MEMBER_ID_REQUIRED ? joined.member : ''
      return undefined
    }
    this.#member = joined.member
    this.#generation = joined.generation
    return this.#sync(joined, signal)
  }

  async #sync(joined: JoinGroupResponse, signal?: AbortSignal): Promise<JoinedGeneration | undefined> {
    const { group, instance } = this.#options
    // Without the list of members nobody can lead, whatever the broker says.
    const leader = joined.leader === joined.member && joined.members.length > 0
    const plan = leader && !joined.skipAssignment ? await this.#plan(joined) : new Map<string, MemberAssignment>()
    const again: readonly number[] = [Code.REBALANCE_IN_PROGRESS, Code.ILLEGAL_GENERATION, Code.UNKNOWN_MEMBER_ID]
    const synced = await this.#cluster.call(
      SyncGroup,
      {
        group,
        instance,
        generation: joined.generation,
        member: joined.member,
        protocol: PROTOCOL,
        assignments: [...plan].map(([member, { partitions, userData }]) => ({
          member,
          assignment: encodeAssignment(partitions, userData),
        })),
      },
      {
        to: this.#target,
        purpose: 'group',
        what: `joining group ${group} as ${instance} (SyncGroup)`,
        codeOf: (response) => response.code,
        accept: (code) => again.includes(code),
        signal,
      },
    )
    if (synced.code !== Code.NONE) {
      if (synced.code === Code.UNKNOWN_MEMBER_ID) this.#member = ''
      return undefined
    }
    this.lastHeartbeatMs = monotonicMs()
    this.#startHeartbeat()
    const fence = { generation: joined.generation, member: joined.member, instance }
    const instances = joined.members.map((each) => each.instance ?? each.member)
    return { ...decodeAssignment(synced.assignment), fence, leader, instances }
  }

  #plan(joined: JoinGroupResponse): Promise<ReadonlyMap<string, MemberAssignment>> {
    const members = joined.members.map(({ member, instance, metadata }) => ({
      member,
      instance: instance ?? member,
      ...decodeSubscription(metadata),
    }))
    return this.#options.assign(members)
  }

  #startHeartbeat(): void {
    this.#stopHeartbeat()
    this.#timer = startInterval(this.#options.heartbeatMs, () => void this.#beat())
  }

  #stopHeartbeat(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  async #beat(): Promise<void> {
    if (this.#beating || this.#closed) return
    this.#beating = true
    const timer = this.#timer
    try {
      const { group, instance, sessionTimeoutMs } = this.#options
      const { code } = await this.#cluster.call(
        Heartbeat,
        { group, instance, generation: this.#generation, member: this.#member },
        {
          to: this.#target,
          purpose: 'group',
          what: `heartbeat of ${instance} in group ${group}`,
          codeOf: (response) => response.code,
          accept: () => true,
          timeoutMs: sessionTimeoutMs,
          deadlineMs: 1,
        },
      )
      if (timer === this.#timer) this.#heard(code)
    } catch (error) {
      // One try per beat: the next one looks for the coordinator again.
      this.#cluster.forgetCoordinator('group', this.#options.group)
      if (!isCode(error, 'KAFKA_CONNECTION_LOST', 'KAFKA_REQUEST_TIMEOUT', 'KAFKA_RETRIABLE'))
        this.#log.warn({ error: messageOf(error) }, 'heartbeat failed')
    } finally {
      this.#beating = false
    }
  }

  #heard(code: number): void {
    switch (code) {
      case Code.NONE:
        this.lastHeartbeatMs = monotonicMs()
        return
      case Code.REBALANCE_IN_PROGRESS:
        this.lastHeartbeatMs = monotonicMs()
        this.onRebalance('rebalance')
        return
      case Code.ILLEGAL_GENERATION:
      case Code.UNKNOWN_MEMBER_ID:
        this.#stopHeartbeat()
        if (code === Code.UNKNOWN_MEMBER_ID) this.#member = ''
        this.onRebalance('expelled')
        return
      case Code.FENCED_INSTANCE_ID:
        this.#stopHeartbeat()
        this.onFenced(
          kafkaError(
            code,
            `instance ${this.#options.instance} is used by another process: two deployments of one pipeline, or two workers with one --instance`,
          ),
        )
        return
      case Code.NOT_COORDINATOR:
      case Code.COORDINATOR_NOT_AVAILABLE:
        this.#cluster.forgetCoordinator('group', this.#options.group)
        return
      default:
        this.#log.debug({ code: codeName(code) }, 'heartbeat answered')
    }
  }

  async verify(): Promise<void> {
    const { group, instance } = this.#options
    await this.#cluster.call(
      Heartbeat,
      { group, instance, generation: this.#generation, member: this.#member },
      {
        to: this.#target,
        purpose: 'group',
        what: `heartbeat of ${instance} in group ${group}`,
        codeOf: (response) => response.code,
        accept: (code) => code === Code.REBALANCE_IN_PROGRESS,
      },
    )
  }

  /** Gives the static place up: the others take over at once. */
  async leave(): Promise<void> {
    this.#stopHeartbeat()
    // Without a member id the broker would remove whoever has our instance id.
    if (this.#member === '') return this.close()
    const { group, instance } = this.#options
    await leaveGroup(this.#cluster, group, this.#member, instance)
    this.close()
  }

  close(): void {
    this.#closed = true
    this.#stopHeartbeat()
  }
}

/** With both ids: the broker refuses it (and we do not mind) when the instance is another member's by now. */
export async function leaveGroup(
  cluster: KafkaCluster,
  group: string,
  member: string,
  instance: string,
): Promise<void> {
  await cluster.call(
    LeaveGroup,
    { group, member, instance },
    {
      to: { kind: 'coordinator', type: 'group', key: group },
      purpose: 'group',
      what: `leaving group ${group}`,
      codeOf: (response) => response.code,
      accept: (code) => code === Code.UNKNOWN_MEMBER_ID || code === Code.FENCED_INSTANCE_ID,
      deadlineMs: 5_000,
    },
  )
}
