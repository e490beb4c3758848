// Prometheus metrics of one worker. The only file that imports prom-client: its parts, because all of it loads Node's cluster
// and process metrics too, 4 MB in every worker.
import Counter from 'prom-client/lib/counter.js'
import Gauge from 'prom-client/lib/gauge.js'
import Histogram from 'prom-client/lib/histogram.js'
import Registry from 'prom-client/lib/registry.js'
import type { Worker } from '../worker/worker.ts'

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** The metrics page as text, made anew for each scrape from the worker's status. */
export function workerMetrics(worker: Worker): { readonly contentType: string; text(): Promise<string> } {
  const registry = new Registry()
  registry.setDefaultLabels({ instance_id: worker.status.instance })
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `millrace_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      },
    })
  }
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name: `millrace_${name}_total`,
      help,
      registers: [registry],
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  }
  const { status } = worker
  counter('records_in', 'Records read by the tasks of this attempt.', () => status.recordsIn)
  counter('records_out', 'Records acknowledged by the brokers in this attempt.', () => status.recordsOut)
  counter('bytes_out', 'Bytes of acknowledged records, uncompressed.', () => status.bytesOut)
  counter('records_skipped', 'Undecodable records dropped by onDecodeError: skip.', () => status.recordsSkipped)
  counter('checkpoints_committed', 'Checkpoints committed.', () => status.checkpointsCommitted)
  counter('checkpoints_failed', 'Checkpoints given up by a roll-back.', () => status.checkpointsFailed)
  counter('roll_backs', 'Roll-backs in place.', () => status.rollBacks)
  counter('restarts', 'Restarts after the restart strategy’s pause.', () => status.restarts)
  counter('rebalances', 'Rejoins of the group.', () => status.rebalances)
  gauge('checkpoint_last_id', 'Id of the newest committed checkpoint.', () => Number(status.lastCheckpoint))
  gauge('checkpoint_last_bytes', 'Size of the newest checkpoint file.', () => status.lastCheckpointBytes)
  gauge(
    'open_transaction_age_seconds',
    'Age of the open transaction; near the transaction timeout it is about to expire.',
    () => status.openTransactionAgeMs / 1000,
  )
  gauge('tasks', 'Tasks of this worker.', () => status.tasks)
  gauge('state_keys', 'Keys held by the tasks of this worker.', () => worker.keyCount())
  gauge('generation', 'Generation of the group.', () => status.generation)
  gauge('running', '1 when restored and running.', () => (status.ready ? 1 : 0))
  new Gauge({
    name: 'millrace_lag_records',
    help: 'Records between a task’s position and the last stable offset.',
    labelNames: ['topic', 'partition'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { topic, partition, lag } of worker.lags()) this.set({ topic, partition: String(partition) }, lag)
    },
  })
  const phases = new Histogram({
    name: 'millrace_checkpoint_phase_seconds',
    help: 'Duration of each phase of a committed checkpoint.',
    labelNames: ['phase'],
    buckets: BUCKETS,
    registers: [registry],
  })
  status.onCheckpoint = (measured) => {
    for (const [phase, ms] of Object.entries(measured)) phases.observe({ phase }, ms / 1000)
  }
  return { contentType: registry.contentType, text: () => registry.metrics() }
}
