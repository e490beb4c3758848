// Payments against rules that change while the pipeline runs: a broadcast stream. Every task reads all rules, in the order of their topic, and
// has its own copy of them; payments are spread over the tasks by card. A rule is a limit for a kind of shop: a card that pays more than that
// without a day's pause is told. A rule whose value is null is gone, as in a compacted topic.
import { definePipeline, f64, json, mapState, nullable, type Pipeline, utf8, withTtl } from 'millrace'
import { kafkaSink, kafkaSource } from 'millrace/kafka'

interface Rule {
  readonly limit: number
}

interface Payment {
  readonly kind: string
  readonly amount: number
}

interface Alert {
  readonly card: string
  readonly kind: string
  readonly paid: number
  readonly limit: number
}

const A_DAY_MS = 24 * 3_600_000

const paymentRules: Pipeline = definePipeline('payment-rules', (pipeline) => {
  const rules = pipeline.from(
    'rules',
    kafkaSource({ topic: process.env.RULES_TOPIC ?? 'rules', key: utf8, value: nullable(json<Rule>()) }),
  )
  pipeline
    .from(
      'payments',
      kafkaSource({ topic: process.env.PAYMENTS_TOPIC ?? 'payments', key: utf8, value: json<Payment>() }),
    )
    .keyByRecordKey()
    .withState({ paid: withTtl(mapState(utf8, f64), { ttlMs: A_DAY_MS, clock: 'record-time' }) })
    .connectBroadcast(rules, { limits: mapState(utf8, f64) })
    .process<Alert>('check', {
      onBroadcast(rule, { broadcast: { limits }, record }) {
        if (rule) limits.set(record.key, rule.limit)
        else limits.delete(record.key)
      },
      onRecord({ kind, amount }, { key, state: { paid }, broadcast: { limits }, emit }) {
        const sum = (paid.get(kind) ?? 0) + amount
        paid.set(kind, sum)
        const limit = limits.get(kind)
        if (limit !== undefined && sum > limit) emit({ card: key, kind, paid: sum, limit })
      },
    })
    .to('alerts', kafkaSink({ topic: process.env.ALERTS_TOPIC ?? 'alerts', key: utf8, value: json<Alert>() }))
})

export default paymentRules
