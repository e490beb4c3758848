// Goal: whatever happened to offsets, topics and checkpoint files behind the pipeline's back ends it loudly (exit 3, the
// error's code, subject and remedy, nothing written on a guess), and `millrace reset` is the way out: after it the pipeline
// runs again, and its output from there on is right, with the state kept or dropped as was said. Method: the command line
// as a child process; the damage is done by Kafka's own admin client or in the store's folder.
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import type { Ended } from '../support/cli.ts'
import { Site, type Subject } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await Site.open()
})
afterEach(() => site.clear())
afterAll(() => site[Symbol.asyncDispose]())

/** The pipeline refuses to go on, and has written nothing more. */
async function stopsLoudly(subject: Subject, code: string, ...says: readonly string[]): Promise<Ended> {
  const before = await subject.values()
  const ended = await subject.fails()
  for (const each of [code, ...says]) expect(ended.output).toContain(each)
  expect(ended.code).toBe(3)
  expect(await subject.values()).toEqual(before)
  return ended
}

async function resets(subject: Subject, ...flags: readonly string[]): Promise<string> {
  const ended = await subject.reset(...flags)
  if (ended.code !== 0) throw new Error(`reset ended with ${ended.code}:\n${ended.output}`)
  return ended.output
}

/** `value×count` of what the keyed count wrote since `from`. */
async function counts(subject: Subject, from = 0): Promise<string[]> {
  const values = await subject.values()
  return values.slice(from).map((text) => {
    const { value, count } = JSON.parse(text) as { value: string; count: number }
    return `${value}×${count}`
  })
}

const EXIT = 'millrace reset <module> --to earliest|latest|timestamp|<file>'

describe('offsets', () => {
  test('retention passed the position: stops; reset to earliest goes on with what is left, the state kept', async () => {
    const subject = await site.subject('count')
    await subject.send(['k:a', 'k:b'])
    await subject.once()
    await subject.send(['k:c', 'k:d', 'k:e'])
    await site.admin.deleteRecords(subject.input, 0, 4n)
    await stopsLoudly(subject, 'OFFSET_OUT_OF_RANGE', `${subject.input}-0@2 does not exist`, 'holds 4 to 5', EXIT)
    const said = await resets(subject, '--to', 'earliest', '--state', 'keep')
    expect(said).toContain('state kept')
    expect(said).toContain(`${subject.input}-0: 2 → 4`)
    await subject.once()
    expect(await counts(subject)).toEqual(['a×1', 'b×2', 'e×3'])
  })

  test('the group was deleted: stops; reset to a file of offsets goes on from there, the state dropped', async () => {
    const subject = await site.subject('count')
    await subject.send(['k:a', 'k:b', 'k:c'])
    await subject.once()
    await site.admin.deleteGroup(subject.group)
    await stopsLoudly(subject, 'OFFSETS_MISSING', subject.group, 'has run before', EXIT)
    const file = join(await subject.anotherStore(), 'offsets.json')
    await writeFile(file, JSON.stringify({ [subject.input]: { 0: '2' } }))
    expect(await resets(subject, '--to', file, '--state', 'drop')).toContain('state dropped')
    await subject.once()
    expect(await counts(subject, 3)).toEqual(['c×1'])
  })

  test('the offset of one partition was deleted: stops', async () => {
    const subject = await site.subject('copy', { partitions: 2 })
    await subject.send(['a'], 0)
    await subject.send(['b'], 1)
    await subject.once()
    await site.admin.deleteGroupOffsets(subject.group, [{ topic: subject.input, partition: 1 }])
    await stopsLoudly(subject, 'OFFSETS_MISSING', 'in/1', EXIT)
    await resets(subject, '--to', 'latest')
    await subject.send(['c'], 1)
    await subject.once()
    expect((await subject.values()).sort()).toEqual(['a', 'b', 'c'])
  })

  test("someone reset the group with Kafka's tools: stops; reset to a timestamp goes on from there", async () => {
    const subject = await site.subject('copy')
    await site.send(
      [1_000, 2_000, 3_000].map((timestamp) => ({ topic: subject.input, value: `at ${timestamp}`, timestamp })),
    )
    await subject.once()
    await site.admin.alterGroupOffsets(subject.group, [{ topic: subject.input, partition: 0, offset: 0n }])
    await stopsLoudly(subject, 'OFFSETS_FOREIGN', `${subject.input}-0`, 'someone reset the group', EXIT)
    await resets(subject, '--to', '2000')
    await subject.once()
    expect(await subject.values()).toEqual(['at 1000', 'at 2000', 'at 3000', 'at 2000', 'at 3000'])
  })

  test('someone moved the offset and kept the pointer: stops', async () => {
    const subject = await site.subject('copy')
    await subject.send(['a', 'b'])
    await subject.once()
    const [row] = await site.admin.listGroupOffsets(subject.group)
    const metadata = row?.metadata ?? ''
    await site.admin.alterGroupOffsets(subject.group, [{ topic: subject.input, partition: 0, offset: 1n, metadata }])
    await stopsLoudly(subject, 'CHECKPOINT_MISMATCH', `${subject.input}-0: committed offset 1`, 'has 2', EXIT)
    await resets(subject, '--to', 'latest')
    await subject.send(['c'])
    await subject.once()
    expect(await subject.values()).toEqual(['a', 'b', 'c'])
  })
})

describe('topics', () => {
  test('a re-created input is another topic: stops; reset to earliest reads it anew', async () => {
    const subject = await site.subject('count')
    await subject.send(['k:a', 'k:b'])
    await subject.once()
    await site.admin.deleteTopic(subject.input)
    await site.createTopic(subject.input)
    await subject.send(['k:x', 'k:y', 'k:z'])
    await stopsLoudly(subject, 'TOPIC_ID_CHANGED', `topic ${subject.input} was deleted and created again`, EXIT)
    await resets(subject, '--to', 'earliest', '--state', 'drop')
    await subject.once()
    expect(await counts(subject, 2)).toEqual(['x×1', 'y×2', 'z×3'])
  })

  test('more partitions under a keyed stage: stops, because keys would move', async () => {
    const subject = await site.subject('count')
    await subject.send(['k:a'])
    await subject.once()
    await site.admin.createPartitions(subject.input, 3)
    await stopsLoudly(subject, 'PARTITION_COUNT_CHANGED', subject.input, 'had 1 partitions, now 3', 'Use a new topic')
    await resets(subject, '--to', 'earliest', '--state', 'drop')
    await subject.once()
    expect(await counts(subject, 1)).toEqual(['a×1'])
  })

  test('more partitions under a stateless stage: the new ones are read from their first record, whatever start says', async () => {
    const subject = await site.subject('copy', { source: { start: 'latest' } })
    await subject.once()
    await site.admin.createPartitions(subject.input, 2)
    await subject.send(['early'], 1)
    await subject.once()
    expect(await subject.values()).toEqual(['early'])
  })
})

describe('checkpoint files', () => {
  test.each(['the state', 'the manifest'])(
    'F20 bitflip-checkpoint: a flipped bit in %s is found: stops, and the file is named',
    async (where) => {
      const subject = await site.subject('count')
      await subject.send(['k:a'])
      await subject.once()
      const file = await subject.pointedFile()
      const bytes = await readFile(file)
      const at = where === 'the state' ? 14 : bytes.length - 30
      bytes[at] = (bytes[at] ?? 0) ^ 0x10
      await writeFile(file, bytes)
      await stopsLoudly(subject, 'CHECKPOINT_CORRUPT', basename(file), 'backup')
      const refused = await subject.reset('--to', 'latest', '--state', 'keep')
      expect(refused.output).toContain('CHECKPOINT_CORRUPT')
      expect(refused.code).toBe(3)
      await resets(subject, '--to', 'latest', '--state', 'drop')
      await subject.send(['k:b'])
      await subject.once()
      expect(await counts(subject)).toEqual(['a×1', 'b×1'])
    },
  )

  test('F21 missing-blob: the newest file is gone: stops; reset without the state is the way out', async () => {
    const subject = await site.subject('count')
    await subject.send(['k:a'])
    await subject.once()
    const file = await subject.pointedFile()
    await rename(file, `${await subject.anotherStore()}/kept`)
    await stopsLoudly(subject, 'CHECKPOINT_MISSING', basename(file), subject.store, 'MILLRACE_STORE', EXIT)
    const refused = await subject.reset('--to', 'latest', '--state', 'keep')
    expect(refused.output).toContain('CHECKPOINT_MISSING')
    await resets(subject, '--to', 'latest', '--state', 'drop')
    await subject.send(['k:b'])
    await subject.once()
    expect(await counts(subject)).toEqual(['a×1', 'b×1'])
  })

  test('a strange file in the store is named and not touched', async () => {
    const subject = await site.subject('copy')
    await writeFile(join(subject.store, 'holiday.jpg'), '')
    await stopsLoudly(subject, 'STORE_FOREIGN_FILE', subject.store, "'holiday.jpg'", 'folder of its own')
    await rm(join(subject.store, 'holiday.jpg'))
    await subject.once()
  })

  test("another pipeline's store is refused by its owner's name", async () => {
    const owner = await site.subject('copy')
    await owner.once()
    const subject = await site.subject('copy')
    const ended = await subject.fails({ MILLRACE_STORE: owner.store })
    expect(ended.output).toContain('STORE_FOREIGN_FILE')
    expect(ended.output).toContain(`belongs to pipeline '${owner.case.name}'`)
    expect(ended.code).toBe(3)
  })

  test('a checkpoint file of another pipeline among ours is refused', async () => {
    const owner = await site.subject('copy')
    await owner.once()
    const subject = await site.subject('copy')
    const file = await owner.pointedFile()
    await writeFile(join(subject.store, basename(file)), await readFile(file))
    await stopsLoudly(subject, 'STORE_FOREIGN_FILE', basename(file), owner.case.name)
  })
})

describe('reset refuses', () => {
  test('a group with members, and says to stop them', async () => {
    const subject = await site.subject('copy')
    const cli = subject.run()
    await cli.runs()
    const refused = await subject.reset('--to', 'earliest')
    for (const each of ['GROUP_NOT_EMPTY', subject.group, 'stop all workers']) expect(refused.output).toContain(each)
    expect(refused.code).toBe(2)
    expect((await cli.stop()).code).toBe(0)
  })

  test('a keyed pipeline without a word on its state', async () => {
    const subject = await site.subject('count')
    const refused = await subject.reset('--to', 'earliest')
    for (const each of ['OPTION_INVALID', '--state keep', '--state drop']) expect(refused.output).toContain(each)
    expect(refused.code).toBe(2)
  })

  test('to keep state while records are on their way between stages', async () => {
    const subject = await site.subject('hop')
    const refused = await subject.reset('--to', 'earliest', '--state', 'keep')
    for (const each of ['OPTION_INVALID', `${subject.group}.hop.first`, 'Use --state drop'])
      expect(refused.output).toContain(each)
    expect(refused.code).toBe(2)
  })

  test.each([
    ['7', 'outside the log: it holds 0 to 1'],
    ['one', "has 'one'"],
  ])('an offset that is not in the log: %s', async (offset, says) => {
    const subject = await site.subject('copy')
    await subject.send(['a'])
    await subject.once()
    const file = join(await subject.anotherStore(), 'offsets.json')
    await writeFile(file, JSON.stringify({ [subject.input]: { 0: offset } }))
    const refused = await subject.reset('--to', file)
    for (const each of ['OPTION_INVALID', `${subject.input}-0`, says]) expect(refused.output).toContain(each)
    expect(refused.code).toBe(2)
    await subject.send(['b'])
    await subject.once()
    expect(await subject.values()).toEqual(['a', 'b'])
  })

  test('a topic or partition that the pipeline does not read', async () => {
    const subject = await site.subject('copy')
    await subject.once()
    const file = join(await subject.anotherStore(), 'offsets.json')
    await writeFile(file, JSON.stringify({ [subject.input]: { 5: '0' }, typo: { 0: '0' } }))
    const refused = await subject.reset('--to', file)
    for (const each of ['OPTION_INVALID', `${subject.input}-5`, 'typo-0']) expect(refused.output).toContain(each)
    expect(refused.code).toBe(2)
  })
})

test('reset of a pipeline with a repartition topic passes over what is in it and starts with no state', async () => {
  const subject = await site.subject('hop', { hopPartitions: 1 })
  await subject.send(['apple', 'ant', 'bee'])
  await subject.once()
  const hop = `${subject.group}.hop.first`
  await subject.caughtUp(undefined, [hop])
  await site.admin.deleteGroup(subject.group)
  await resets(subject, '--to', 'earliest', '--state', 'drop')
  const written = (await subject.values()).length
  const cli = subject.start(['run', '--leave'])
  await cli.runs()
  await subject.caughtUp(cli)
  await subject.caughtUp(cli, [hop])
  expect((await cli.stop()).code).toBe(0)
  expect(await counts(subject, written)).toEqual(['apple×1', 'ant×2', 'bee×1'])
})
