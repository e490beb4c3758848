// What the rows of one state come to, read without a task: for commands that look, and for state that is dealt out anew.
import { ByteReader } from '../base/byte-reader.ts'
import { MillraceError } from '../base/errors.ts'
import type { StateDescriptor } from '../state/descriptors.ts'
import {
  converting,
  describeFormat,
  identityOf,
  indexOf,
  type ReadableState,
  Row,
  readable,
  replaySegment,
  type StateIdentity,
} from '../state/segment.ts'
import { decodeState, type Serde } from '../state/serde.ts'
import { STAMP_BYTES } from '../state/stamp.ts'
import type { Plan } from './job.ts'
import { storesOf } from './savepoint-plan.ts'

/** What the segments of a task's chain come to, for one state. @throws USAGE, STATE_INCOMPATIBLE */
export function stateRows(
  plan: Plan,
  segments: readonly Buffer[],
  operator: string,
  state: string,
): { readonly key: unknown; readonly value: unknown }[] {
  const { key, descriptor } = declared(plan, operator, state)
  const rows = new Rows()
  for (const bytes of segments) {
    replaySegment(bytes, (identity) => {
      if (identity.operator !== operator || identity.name !== state) return { apply() {} }
      return converting(rows, readableBy(identity, identityOf(operator, state, key, descriptor), descriptor))
    })
  }
  return [...rows.cells].flatMap(([at, cell]) => {
    const value = contentOf(cell, descriptor)
    return value === undefined ? [] : [{ key: decodeState(key, Buffer.from(at, 'latin1')), value }]
  })
}

export function declared(
  plan: Plan,
  operator: string,
  state: string,
): { key: Serde<unknown>; descriptor: StateDescriptor<unknown> } {
  const stores = plan.graph.nodes.flatMap((node) => storesOf(node))
  const store = stores.find((each) => each.operator === operator)
  if (!store) {
    const names = stores.map((each) => each.operator).join(', ') || 'none'
    throw new MillraceError('USAGE', `no operator '${operator}' has state; those that have: ${names}`)
  }
  const descriptor = store.states[state]
  if (descriptor) return { key: store.key, descriptor }
  const names = Object.keys(store.states).join(', ') || 'none'
  throw new MillraceError('USAGE', `operator '${operator}' has no state '${state}'; it has ${names}`)
}

function readableBy(was: StateIdentity, now: StateIdentity, descriptor: StateDescriptor<unknown>): ReadableState {
  const found = readable(was, now, descriptor)
  if (found) return found
  const text = `operator '${was.operator}', state '${was.name}': the checkpoint has ${describeFormat(was)}; the module says ${describeFormat(now)}. Look with the code that wrote it`
  throw new MillraceError('STATE_INCOMPATIBLE', text)
}

/** What the rows of one key come to, as bytes. */
export interface Cell {
  /** A value, or the items of a list from an index on. */
  runs: { readonly at: number; readonly bytes: Buffer | undefined }[]
  readonly entries: Map<string, Buffer>
}

const newCell = (): Cell => ({ runs: [], entries: new Map() })

/** Collects the rows of one state. */
export class Rows {
  /** By the key's bytes. */
  readonly cells: Map<string, Cell> = new Map()

  apply(op: number, key: Buffer, at: Buffer | null, value: Buffer | null): void {
    const name = key.toString('latin1')
    if (op === Row.DELETE) {
      this.cells.delete(name)
      return
    }
    const cell = this.cells.get(name) ?? newCell()
    this.cells.set(name, cell)
    const entry = at?.toString('latin1')
    const own = value ? Buffer.from(value) : undefined
    if (op === Row.PUT) cell.runs = [{ at: 0, bytes: own }]
    if (op === Row.LIST_APPEND) {
      const from = indexOf(at)
      cell.runs = [...cell.runs.filter((run) => run.at < from), { at: from, bytes: own }]
    }
    if (op === Row.MAP_PUT && entry !== undefined && own) cell.entries.set(entry, own)
    if (op === Row.MAP_DELETE && entry !== undefined) cell.entries.delete(entry)
  }
}

/** With a time to live: what has expired and was not removed yet, too. */
function contentOf({ runs, entries }: Cell, { kind, serde, mapKey, ttl }: StateDescriptor<unknown>): unknown {
  const read = (bytes: Buffer): unknown => decodeState(serde, Buffer.from(bytes), ttl ? STAMP_BYTES : 0)
  if (kind === 'map')
    return entries.size === 0
      ? undefined
      : [...entries].map(([key, each]) => [decodeState(mapKey ?? serde, Buffer.from(key, 'latin1')), read(each)])
  if (kind === 'list') return runs.flatMap(({ bytes }) => (bytes ? itemsOf(bytes).map(read) : []))
  const value = runs[0]?.bytes
  return value && read(value)
}

/** A row of a list holds some of its items. */
export function itemsOf(run: Buffer): Buffer[] {
  const reader = new ByteReader(run)
  const items: Buffer[] = []
  while (reader.remaining > 0) items.push(reader.lengthPrefixed())
  return items
}
