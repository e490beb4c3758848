/**
 * Goal: the examples in `pipelines/` do what their first lines say. Method: each one in memory, with a crash on the way.
 */
import { expect, test } from '@jest/globals'
import { PipelineTester } from '../../connectors/memory/index.ts'
import paymentRules from '../../pipelines/payment-rules.ts'
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
    { key: 'ann', value: { user: 'ann', devices: ['laptop', 'phone', 'tv', 'watch'] } },
  ])
})

test('payment-rules: limits that come, change and go are those of all tasks', async () => {
  await using tester = await PipelineTester.start(paymentRules, { partitions: { payments: 4, alerts: 1, rules: 1 } })
  const rule = (kind: string, limit: number | null): void =>
    tester.send('rules', { key: kind, value: limit === null ? null : { limit }, partition: 0 })
  const pay = (amount: number): void => {
    for (const card of ['1', '2', '3', '4', '5', '6'])
      tester.send('payments', { key: card, value: { kind: 'fuel', amount } })
  }
  const alerts = (): unknown[] => tester.output('alerts').map(({ value }) => value)
  rule('fuel', 100)
  pay(100)
  await tester.settle()
  expect(alerts()).toEqual([])
  await tester.crash('leveldb')
  pay(20)
  await tester.settle()
  expect(alerts()).toHaveLength(6)
  expect(alerts()).toContainEqual({ card: '3', kind: 'fuel', paid: 120, limit: 100 })
  rule('fuel', 200)
  await tester.settle()
  pay(20)
  await tester.settle()
  rule('fuel', null)
  await tester.settle()
  pay(1_000)
  await tester.settle()
  expect(alerts()).toHaveLength(6)
})
