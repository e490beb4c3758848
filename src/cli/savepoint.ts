// millrace savepoint create | list | inspect | diff | restore.

import { readFile } from 'node:fs/promises'
import { bytesOf } from '../base/byte-writer.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { listSavepoints, readSavepoint, type Savepoint } from '../checkpoint/savepoint.ts'
import { drainHops } from '../worker/drain.ts'
import { createSavepoint, rowsOf } from '../worker/savepoint.ts'
import { checkDiff, diffSavepoint, type SavepointDiff } from '../worker/savepoint-plan.ts'
import { describePositions, parseOffsets, type RestoreOptions, restoreSavepoint } from '../worker/savepoint-restore.ts'
import { requestStop } from '../worker/stop-request.ts'
import { storeOf } from '../worker/store.ts'
import { prepareTopology } from '../worker/topology.ts'
import { type FlagValues, overridesOf, parseCommand, SETTINGS_FLAGS, textFlag } from './arguments.ts'
import { jsonText } from './inspect.ts'
import { loadPipeline } from './load.ts'
import { release } from './release.ts'

const FLAGS = {
  ...SETTINGS_FLAGS,
  out: { type: 'string' },
  stop: { type: 'boolean' },
  drain: { type: 'boolean' },
  json: { type: 'boolean' },
  to: { type: 'string' },
  offsets: { type: 'string' },
  renamed: { type: 'boolean' },
  'allow-dropped-state': { type: 'boolean' },
  'accept-rewrite': { type: 'boolean' },
} as const

const actions: Readonly<Record<string, (argv: readonly string[]) => Promise<number>>> = {
  create,
  list,
  inspect,
  diff,
  restore,
}

export async function savepointCommand([name = '', ...argv]: readonly string[]): Promise<number> {
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined
  if (action) return action(argv)
  throw new MillraceError('USAGE', `millrace savepoint ${name}: ${Object.keys(actions).join(', ')} are expected`)
}

const say = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

async function create(argv: readonly string[]): Promise<number> {
  const { values, module } = parseCommand('savepoint create', argv, FLAGS)
  const folder = textFlag(values, 'out')
  if (folder === undefined) throw new MillraceError('USAGE', 'millrace savepoint create: --out DIR is required')
  const { plan, settings } = await loadPipeline(module, overridesOf(values))
  const log = createLogger({ pipeline: plan.pipeline }, 'error')
  const cluster = await plan.factory.connect(settings.kafka, `${settings.instance}-savepoint`, log)
  try {
    const store = storeOf(cluster, plan, settings)
    const storeId = await store.open(plan.pipeline)
    if (values.stop === true) {
      const topology = await prepareTopology(cluster, plan, settings, log)
      await requestStop({ cluster, plan, settings, topology, storeId, log })
      say(`all workers of '${plan.pipeline}' have stopped`)
    }
    if (values.drain === true && plan.hops.length > 0) {
      await drainHops({ cluster, plan, settings: { ...settings, httpPort: 0 }, log })
      say('repartition topics are read to their ends')
    }
    const savepoint = await createSavepoint({ cluster, plan, settings, store, folder, release: release(), log })
    say(`savepoint written: ${folder}`)
    describe(savepoint)
  } finally {
    await cluster[Symbol.asyncDispose]()
  }
  return 0
}

function describe({ pipeline, taken, millrace, tasks }: Savepoint): void {
  const bytes = bytesOf(tasks.flatMap(({ segments }) => segments))
  say(`  pipeline ${pipeline}, taken ${taken} by release ${millrace}: ${tasks.length} tasks, ${bytes} bytes of state`)
  for (const { task, checkpoint, positions } of tasks)
    say(`  ${task}  checkpoint ${checkpoint}  ${describePositions(positions)}`)
}

async function list(argv: readonly string[]): Promise<number> {
  const { values, module: folder } = parseCommand('savepoint list', argv, FLAGS)
  const found = await listSavepoints(folder)
  if (values.json === true) {
    say(
      jsonText(
        found.map(({ folder: at, savepoint }) => ({ folder: at, ...short(savepoint) })),
        2,
      ),
    )
    return 0
  }
  say(`${found.length} savepoints in ${folder}`)
  for (const { folder: at, savepoint } of found) {
    if (savepoint instanceof MillraceError) say(`  ${at}  ${savepoint.message}`)
    else say(`  ${at}  ${savepoint.pipeline}  ${savepoint.taken}  ${savepoint.tasks.length} tasks`)
  }
  return 0
}

const short = (savepoint: Savepoint | MillraceError): object =>
  savepoint instanceof MillraceError
    ? { damaged: savepoint.message }
    : { pipeline: savepoint.pipeline, taken: savepoint.taken, tasks: savepoint.tasks.length }

/** Reads all of it: what is said is verified. */
async function inspect(argv: readonly string[]): Promise<number> {
  const { values, module: folder } = parseCommand('savepoint inspect', argv, FLAGS)
  const savepoint = await readSavepoint(folder)
  const rows = new Map<string, number>()
  for (const task of savepoint.tasks) rows.set(task.task, await rowsOf(folder, task))
  if (values.json === true) {
    say(jsonText({ ...savepoint, tasks: savepoint.tasks.map((task) => ({ ...task, rows: rows.get(task.task) })) }, 2))
    return 0
  }
  describe(savepoint)
  for (const { task, states } of savepoint.tasks) {
    say(`  ${task}  ${rows.get(task)} rows`)
    for (const { operator, name, kind, serde, key } of states)
      say(`    ${operator}.${name}: ${kind} of ${serde}, key ${key}`)
  }
  return 0
}

async function diff(argv: readonly string[]): Promise<number> {
  const { values, module: folder, rest } = parseCommand('savepoint diff', argv, FLAGS, { required: ['the module'] })
  const { plan } = await loadPipeline(rest[0] as string, overridesOf(values))
  const found = diffSavepoint(await readSavepoint(folder), plan)
  if (values.json === true) say(jsonText(found, 2))
  else describeDiff(found)
  return found.incompatible.length > 0 ? 3 : 0
}

function describeDiff({ pipeline, restored, added, dropped, incompatible, topics }: SavepointDiff): void {
  const lines = [
    ...(pipeline.saved === pipeline.now ? [] : [`renamed       ${pipeline.saved} → ${pipeline.now} (--renamed)`]),
    ...restored.map((name) => `restored      ${name}`),
    ...added.map((name) => `new           ${name}`),
    ...dropped.map((name) => `dropped       ${name} (--allow-dropped-state)`),
    ...incompatible.map(({ state, saved, now }) => `incompatible  ${state}: saved is ${saved}; the module has ${now}`),
    ...topics.kept.map((topic) => `goes on       topic ${topic}`),
    ...topics.added.map((topic) => `new           topic ${topic}: from its start position`),
    ...topics.dropped.map((topic) => `dropped       topic ${topic}: not read any more`),
  ]
  for (const line of lines) say(line)
}

async function restore(argv: readonly string[]): Promise<number> {
  const { values, module: folder } = parseCommand('savepoint restore', argv, FLAGS)
  const module = textFlag(values, 'to')
  if (module === undefined) throw new MillraceError('USAGE', 'millrace savepoint restore: --to MODULE is required')
  const { plan, settings } = await loadPipeline(module, overridesOf(values))
  const savepoint = await readSavepoint(folder)
  const found = diffSavepoint(savepoint, plan)
  checkDiff(found, {
    droppedState: values['allow-dropped-state'] === true,
    otherPipeline: values.renamed === true,
  })
  const log = createLogger({ pipeline: plan.pipeline }, 'error')
  const offsets = await offsetsOf(values)
  const broadcast = [...offsets.keys()].filter((topic) => plan.broadcastTopics.includes(topic))
  if (broadcast.length > 0)
    throw new MillraceError(
      'USAGE',
      `--offsets ${broadcast.join(', ')}: how far a broadcast topic was read is part of the state that was made of it. To begin anew, give its operator a new name and the old state up (--allow-dropped-state)`,
    )
  const strange = [...offsets.keys()].filter((topic) => !plan.sourceTopics.includes(topic))
  if (strange.length > 0)
    throw new MillraceError(
      'USAGE',
      `--offsets ${strange.join(', ')}: the pipeline reads ${plan.sourceTopics.join(', ')}`,
    )
  const cluster = await plan.factory.connect(settings.kafka, `${settings.instance}-restore`, log)
  try {
    const store = storeOf(cluster, plan, settings)
    const acceptRewrite = values['accept-rewrite'] === true
    const given = { cluster, plan, settings, store, folder, savepoint, offsets, acceptRewrite, log }
    const { checkpoint, tasks } = await restoreSavepoint(given)
    say(`checkpoint ${checkpoint} written for '${plan.pipeline}' from savepoint ${folder}`)
    for (const { task, rows, positions } of tasks) say(`  ${task}  ${rows} rows  ${describePositions(positions)}`)
    if (acceptRewrite) say('What the pipeline wrote after the savepoint may be written again: that was your choice.')
  } finally {
    await cluster[Symbol.asyncDispose]()
  }
  return 0
}

/** `topic=place`, several separated by commas. @throws USAGE */
async function offsetsOf(values: FlagValues): Promise<RestoreOptions['offsets']> {
  const places = new Map<string, NonNullable<ReturnType<RestoreOptions['offsets']['get']>>>()
  for (const text of (textFlag(values, 'offsets') ?? '').split(',').filter((each) => each !== '')) {
    const { topic, to } = parseOffsets(text)
    if (to === 'earliest' || to === 'latest') places.set(topic, to)
    else if (/^\d+$/.test(to)) places.set(topic, { timestamp: Number(to) })
    else places.set(topic, { file: await offsetsFile(topic, to) })
  }
  return places
}

async function offsetsFile(topic: string, path: string): Promise<Readonly<Record<string, string>>> {
  try {
    const rows = (JSON.parse(await readFile(path, 'utf8')) as Record<string, Record<string, string>>)[topic]
    if (typeof rows !== 'object' || rows === null) throw new Error(`it says nothing of ${topic}`)
    return rows
  } catch (error) {
    const text = `--offsets ${topic}=${path}: not earliest, latest or a timestamp, and as a file of offsets ({"topic": {"0": "123"}}) it cannot be read: ${messageOf(error)}`
    throw new MillraceError('USAGE', text, { cause: error })
  }
}
