// What the rows of one state come to, read without a task: for commands that look, and for state that is dealt out anew.
import { MillraceError } from '../base/errors.ts'
import { inOrder, splitItems } from '../state/collections.ts'
import type { StateDescriptor } from '../state/descriptors.ts'
import { describeFormat, identityOf, type ReadableState, Row, readable, type StateIdentity } from '../state/segment.ts'
import { converting, indexOf, type RowKey, replaySegment } from '../state/segment-reader.ts'
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
  const rows = new Rows(descriptor.kind)
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
interface Cell {
  value: Buffer | undefined
  items: Buffer[]
  readonly entries: Map<string, Buffer>
}

const newCell = (): Cell => ({ value: undefined, items: [], entries: new Map() })

/** Collects the rows of one state. */
export class Rows {
  /** By the key's bytes. */
  readonly cells: Map<string, Cell> = new Map()
  readonly #kind: StateDescriptor<unknown>['kind']

  constructor(kind: StateDescriptor<unknown>['kind']) {
    this.#kind = kind
  }

  apply(op: number, { view: key }: RowKey, at: Buffer | null, value: Buffer | null): void {
    const name = key.toString('latin1')
    if (op === Row.DELETE) {
      this.cells.delete(name)
      return
    }
    const cell = this.cells.get(name) ?? newCell()
    this.cells.set(name, cell)
    const entry = at?.toString('latin1') ?? ''
    const own = value ? Buffer.from(value) : Buffer.alloc(0)
    if (op === Row.PUT && this.#kind !== 'list') cell.value = own
    else if (op === Row.MAP_PUT) cell.entries.set(entry, own)
    else if (op === Row.MAP_DELETE) cell.entries.delete(entry)
    else appendTo(cell, op === Row.PUT ? 0 : indexOf(at), own)
  }
}

function appendTo({ items }: Cell, from: number, added: Buffer): void {
  // Of a base whose slice with this key comes later in the chain.
  if (from > items.length) return
  items.length = from
  for (const item of splitItems(added)) items.push(item)
}

/** With a time to live: what has expired and was not removed yet, too. */
function contentOf({ value, items, entries }: Cell, { kind, serde, mapKey, ttl }: StateDescriptor<unknown>): unknown {
  const read = (bytes: Buffer): unknown => decodeState(serde, Buffer.from(bytes), ttl ? STAMP_BYTES : 0)
  if (kind === 'map')
    return entries.size === 0
      ? undefined
      : inOrder(entries).map(([key, each]) => [decodeState(mapKey ?? serde, Buffer.from(key, 'latin1')), read(each)])
  if (kind === 'list') return items.map(read)
  return value && read(value)
}
