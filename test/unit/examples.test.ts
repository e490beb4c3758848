/**
 * Goal: the examples in `pipelines/` do what their first lines say. Method: each one in memory, with a crash on the way.
 */
import { expect, test } from '@jest/globals'
import { PipelineTester } from '../../connectors/memory/index.ts'
import sessions from '../../pipelines/sessions.ts'

test('sessions: a fourth device within half an hour is told, one after half an hour is not', async () => {
  await using tester = await PipelineTester.start(sessions)
  const click = (user: string, device: string, minute: number): void =>
    tester.send('clicks', { key: user, value: { device }, timestamp: minute * 60_000 })
  for (const [minute, device] of ['phone', 'tablet', 'laptop'].entries()) click('ann', device, minute)
  click('bob', 'phone', 4)
  await tester.settle()
  await tester.crash('leveldb')
  click('ann', 'phone', 20)
  // The tablet, of minute 1, is forgotten by now.
  click('ann', 'tv', 31)
  await tester.settle()
  expect(tester.output('suspicions')).toEqual([])
  click('ann', 'watch', 31)
  await tester.settle()
  expect(tester.output('suspicions')).toMatchObject([
    { key: 'ann', value: { user: 'ann', devices: ['phone', 'laptop', 'tv', 'watch'] } },
  ])
})
