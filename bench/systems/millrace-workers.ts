/** Several Millrace workers, each in a process of its own as millrace.ts has it; this one only passes on what is said. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { workerHeapFlags } from '../../src/cli/heap-flags.ts'
import { type FromSystem, type Summary, type SystemArguments, type ToSystem, tell } from './messages.ts'

const given = JSON.parse(process.argv[2] ?? '{}') as SystemArguments
const count = Number(given.settings.workers)
const entry = fileURLToPath(new URL('./millrace.ts', import.meta.url))

const children: ChildProcess[] = []
const summaries: Summary[] = []
/** Those that have run: a worker says it again after each rebalance. */
const running = new Set<number>()

for (let n = 0; n < count; n++) {
  const settings = { ...given.settings, instance: `bench-${n}` }
  const child = fork(entry, [JSON.stringify({ ...given, settings })], {
    execArgv: [...process.execArgv, ...workerHeapFlags(count)],
  })
  child.on('message', (message: FromSystem) => {
    if (message.kind === 'summary') summaries.push(message)
    else if (!running.has(n) && running.add(n).size === count) tell(message)
  })
  children.push(child)
}
process.on('message', (message: ToSystem) => {
  for (const child of children) child.send(message)
})
process.on('disconnect', () => process.exit(1))
const codes = await Promise.all(children.map((child) => once(child, 'exit').then(([code]) => code as number | null)))
if (summaries.length < count) throw new Error(`workers ended with ${codes.join(', ')}`)
tell({
  kind: 'summary',
  checkpoints: summaries.flatMap(({ checkpoints }) => checkpoints),
  rollBacks: summaries.reduce((sum, { rollBacks }) => sum + rollBacks, 0),
})
process.disconnect()
process.exit(0)
