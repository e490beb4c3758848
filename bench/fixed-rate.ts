/** Input at a fixed, modest rate, stamped with the wall clock: how long a record took to be seen is in the record. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Bids } from './bids.ts'
import type { Stage } from './stage.ts'

const sendMs = 10

export interface Load {
  readonly recordsPerSecond: number
  readonly seconds: number
}

/** Sends at an even rate, whatever becomes of it. @returns how many */
export async function feed(stage: Stage, topic: string, load: Load): Promise<number> {
  const bids = new Bids(2)
  const total = Math.floor(load.recordsPerSecond * load.seconds)
  let sent = 0
  await stage.produce(async (producer) => {
    const underWay: Promise<unknown>[] = []
    const begun = performance.now()
    while (sent < total) {
      const due = Math.min(total, Math.floor(((performance.now() - begun) / 1_000) * load.recordsPerSecond))
      if (due > sent) {
        const timestamp = String(Date.now())
        const messages = Array.from({ length: due - sent }, () => ({ ...bids.next(), timestamp }))
        const sending = producer.send({ topic, messages, acks: -1 })
        // Seen at the end, by all of them.
        sending.catch(() => undefined)
        underWay.push(sending)
        sent = due
      }
      await sleep(sendMs)
    }
    await Promise.all(underWay)
  })
  return sent
}
