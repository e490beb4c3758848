// Devices on which each user is active: a map with a time to live. An account that is shared shows as many devices within half
// an hour. A device that is not heard of for so long is gone, without anybody counting time: the map forgets it.
import { definePipeline, f64, json, mapState, type Pipeline, utf8, withTtl } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

interface Click {
  readonly device: string
}

interface Suspicion {
  readonly user: string
  readonly devices: readonly string[]
}

const HALF_AN_HOUR_MS = 30 * 60_000
const DEVICES_MAX = 3

const sessions: Pipeline = definePipeline('sessions', (pipeline) => {
  pipeline
    .from('clicks', kafkaSource({ topic: process.env.CLICKS_TOPIC ?? 'clicks', key: utf8, value: json<Click>() }))
    .keyByRecordKey()
    .withState({
      // Clicks by device. By the clicks' own time: a replay of yesterday's topic finds what was found yesterday.
      devices: withTtl(mapState(utf8, f64), { ttlMs: HALF_AN_HOUR_MS, clock: 'record-time' }),
    })
    .flatMap('count', ({ device }, { key, state: { devices } }): Suspicion[] => {
      const known = devices.has(device)
      devices.set(device, (devices.get(device) ?? 0) + 1)
      return !known && devices.size > DEVICES_MAX ? [{ user: key, devices: [...devices.keys()] }] : []
    })
    .to(
      'suspicions',
      kafkaSink({ topic: process.env.SUSPICIONS_TOPIC ?? 'suspicions', key: utf8, value: json<Suspicion>() }),
    )
})

export default sessions
