// The input gate of an operator with several inputs (`union`). Exactly-once: an input that has delivered barrier n is held
// back until all inputs have (alignment), so that the snapshot has nothing from behind the barrier (I1, I2). At-least-once
// does not hold back. What is held back is bounded: a full gate pauses the task's sources, all of which are past the
// barrier then, so the missing barriers still arrive.
import { assert } from '../../base/assert.ts'
import type { CheckpointId } from '../../base/ids.ts'
import type { Buffering, Downstream } from '../element.ts'
import type { StreamRecord } from '../record.ts'

interface Channel {
  aligned: boolean
  held: StreamRecord[]
}

export class InputGate implements Buffering {
  readonly #channels: Channel[] = []
  readonly #align: boolean
  readonly #capacity: number
  readonly #next: Downstream
  #aligning: CheckpointId | undefined
  #arrived = 0
  #held = 0

  constructor(mode: 'exactly-once' | 'at-least-once', channelCapacityRecords: number, next: Downstream) {
    this.#align = mode === 'exactly-once'
    this.#capacity = channelCapacityRecords
    this.#next = next
  }

  /** One more input. */
  input(): Downstream {
    const channel: Channel = { aligned: false, held: [] }
    this.#channels.push(channel)
    return {
      push: (record) => {
        if (!(channel.aligned && this.#align)) return this.#next.push(record)
        channel.held.push(record)
        this.#held++
      },
      barrier: (checkpoint) => this.#barrier(channel, checkpoint),
    }
  }

  get full(): boolean {
    return this.#held >= this.#capacity
  }

  get empty(): boolean {
    return this.#held === 0 && this.#arrived === 0
  }

  drain(): void {}

  #barrier(channel: Channel, checkpoint: CheckpointId): void {
    assert(
      this.#aligning === undefined || this.#aligning === checkpoint,
      `I1: barrier ${checkpoint} while aligning ${this.#aligning}`,
    )
    assert(!channel.aligned, `I1: barrier ${checkpoint} came twice on one channel`)
    this.#aligning = checkpoint
    channel.aligned = true
    if (++this.#arrived < this.#channels.length) return
    this.#aligning = undefined
    this.#arrived = 0
    this.#next.barrier(checkpoint)
    for (const each of this.#channels) each.aligned = false
    for (const each of this.#channels) {
      const held = each.held
      each.held = []
      this.#held -= held.length
      for (const record of held) this.#next.push(record)
    }
  }
}
