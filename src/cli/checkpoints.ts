// millrace checkpoints list | inspect | verify | prune: what the store of a pipeline holds, running or not.
import { MillraceError } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { parseFileName } from '../checkpoint/file.ts'
import { Retention } from '../checkpoint/retention.ts'
import { parseCommand, SETTINGS_FLAGS } from './arguments.ts'
import { type Inspected, inspected, jsonText } from './inspect.ts'

const OPTIONS = { ...SETTINGS_FLAGS, json: { type: 'boolean' } } as const

type Action = (given: Inspected, json: boolean, argument: string | undefined) => Promise<number>

const actions: Readonly<Record<string, Action>> = { list, inspect, verify, prune }

export async function checkpointsCommand([name = '', ...argv]: readonly string[]): Promise<number> {
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined
  if (!action)
    throw new MillraceError('USAGE', `millrace checkpoints ${name}: ${Object.keys(actions).join(', ')} are expected`)
  const more = name === 'inspect' ? ['checkpoint'] : []
  const { values, module, rest } = parseCommand(`checkpoints ${name}`, argv, OPTIONS, { optional: more })
  return inspected(module, values, (given) => action(given, values.json === true, rest[0]))
}

const say = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

async function list({ inspection, store }: Inspected, json: boolean): Promise<number> {
  const files = await inspection.files()
  if (json) {
    say(jsonText(files, 2))
    return 0
  }
  say(`${files.length} checkpoint files in ${store.location}`)
  for (const { checkpoint, instance, use, mode, tasks } of files)
    say(
      `  ${checkpoint.padStart(8)}  ${use.padEnd(8)}  ${instance}  ${mode}  ${tasks.length} tasks: ${tasks.join(', ')}`,
    )
  return 0
}

/** Without a checkpoint's id: all tasks as of their newest committed ones. */
async function inspect({ inspection, store }: Inspected, _json: boolean, id: string | undefined): Promise<number> {
  if (id === undefined) {
    say(jsonText(await inspection.tasks(), 2))
    return 0
  }
  const files = (await store.list()).filter((file) => file === id || parseFileName(file)?.checkpoint.toString() === id)
  if (files.length === 0)
    throw new MillraceError('USAGE', `checkpoint ${id} is not in ${store.location}; see \`millrace checkpoints list\``)
  for (const file of files) say(jsonText({ file, ...(await inspection.manifest(file)) }, 2))
  return 0
}

async function verify({ inspection }: Inspected, json: boolean): Promise<number> {
  const found = await inspection.verify()
  if (json) say(jsonText(found, 2))
  else {
    for (const { task, file, what } of found.damage) say(`damaged: task ${task}, file ${file}: ${what}`)
    const verdict =
      found.damage.length === 0 ? 'sound' : `${found.damage.length} damaged; restore the files from a backup`
    say(`${found.tasks} tasks, ${found.bytes} bytes read: ${verdict}`)
  }
  return found.damage.length === 0 ? 0 : 3
}

/** The rule that workers follow, for what instances have left that are gone. */
async function prune({ cluster, plan, settings, store }: Inspected, json: boolean): Promise<number> {
  const retention = new Retention({
    cluster,
    group: plan.group,
    store,
    retained: settings.retained,
    instance: '',
    log: createLogger({ pipeline: plan.pipeline }, 'warn'),
  })
  retention.stop()
  retention.lookAfter([])
  const deleted = await retention.collect()
  say(
    json ? jsonText(deleted, 2) : [`${deleted.length} files deleted`, ...deleted.map((file) => `  ${file}`)].join('\n'),
  )
  return 0
}
