/**
 * Goal: the sink in memory, the model for all others, keeps the contract of two-phase commit sinks. Method: the suite; what
 * it forbids is also tried on the ledger itself.
 */
import { describe, expect, test } from '@jest/globals'
import { MemoryLedger, memorySink } from '../../connectors/memory/index.ts'
import { silentLogger } from '../../src/base/log.ts'
import { twoPhaseSinkContract } from './two-phase-sink.ts'

async function create() {
  const ledger = new MemoryLedger()
  return {
    open: (operator: string, partition: number) =>
      memorySink(ledger).open({ pipeline: 'orders', operator, partition, log: silentLogger }),
    visible: async () => ledger.visible,
    remove: async () => expect(ledger.pending).toEqual([]),
  }
}

describe('a sink in memory keeps the contract, and leaves nothing pending', () => {
  test.each(twoPhaseSinkContract({ create }))('$name', ({ run }) => run())
})

describe('the ledger', () => {
  test('refuses what loses or doubles records', () => {
    const ledger = new MemoryLedger()
    const name = ledger.begin('owner')
    expect(() => ledger.commit(name)).toThrow('is open, not prepared')
    ledger.prepare(name)
    expect(() => ledger.write(name, 'late')).toThrow('is prepared, not open')
    ledger.commit(name)
    expect(() => ledger.abort(name)).toThrow('cannot be aborted')
    expect(() => ledger.commit('owner#99')).toThrow('is unknown')
  })
})
