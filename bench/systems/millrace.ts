/**
 * One Millrace worker in a process of its own, as `millrace run` starts it, and the times of its checkpoints: the engine
 * reports both sides of every effect, so that nothing is added to the path of a record.
 */
import { createLogger } from '../../src/base/log.ts'
import { resolveSettings } from '../../src/plan/options.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { Worker } from '../../src/worker/worker.ts'
import { type CheckpointTimes, type SystemArguments, type ToSystem, tell } from './messages.ts'
import { pipelineOf } from './workload.ts'

const given = JSON.parse(process.argv[2] ?? '{}') as SystemArguments
const instance = given.settings.instance ?? 'bench-0'

const defined = pipelineOf(given)
const plan = makePlan(defined)
const settings = resolveSettings(plan.pipeline, defined.options, { instance: 'bench' }, plan.hops.length > 0)

const checkpoints: CheckpointTimes[] = []
let since = 0
let inject = 0
let layOut = 0

const worker = new Worker({
  plan,
  settings,
  instance,
  log: createLogger({}, process.env.MILLRACE_LOG_LEVEL ?? 'error'),
  onEvent: ({ event }) => {
    if (event === 'running') tell({ kind: 'running' })
  },
  onStep: (when, step) => {
    if (step === 'inject') {
      if (when === 'before') since = performance.now()
      else inject = performance.now() - since
    }
    if (step === 'write' && when === 'before') {
      const begun = performance.now()
      // Runs when the synchronous beginning of the write gives way.
      queueMicrotask(() => {
        layOut = performance.now() - begun
      })
    }
  },
})
worker.status.onCheckpoint = ({ snapshot, write, commit, confirm, total }, bytes) => {
  checkpoints.push({ inject, layOut, snapshot, write, commit, confirm, total, bytes })
}

process.on('message', (_message: ToSystem) => worker.stop())
process.on('disconnect', () => process.exit(1))
await worker.run()
tell({ kind: 'summary', checkpoints, rollBacks: worker.status.rollBacks })
process.disconnect()
process.exit(0)
