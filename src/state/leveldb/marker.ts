// What is told of a task's entries in one that comes with them: how far they follow its chain, and which states are in which entry.
import type { TaskId } from '../../base/ids.ts'
import type { StateIdentity } from '../segment.ts'
import { PREFIX_BYTES } from './entries.ts'
import { isPacked, PACKED_MAX } from './packs.ts'

/** In `applying`: rows of anything may be there. */
export const UNKNOWN = '?'
/** Numbers of states are below. */
export const FIRST_PACK = 0x8000

export interface Marker {
  readonly prefix: number
  applied: string | null
  applying: string | null
  bytes: number
  /** By their number. */
  states: StateIdentity[]
  /** States that stand side by side, by the pack's number below FIRST_PACK. */
  packs: Packed[]
}

interface Packed {
  readonly operator: string
  /** Their numbers. */
  readonly states: number[]
}

export interface Place {
  readonly pack: number
  /** In the pack. */
  readonly place: number
}

/** How some states are read: by entry, which of them are in it, and where. */
export type ReadPlan = readonly {
  readonly entry: number
  readonly places: readonly number[] | null
  readonly at: number
}[]

export const markerKey = (task: TaskId): Buffer => Buffer.concat([Buffer.alloc(PREFIX_BYTES), Buffer.from(task)])

export function readMarker(bytes: Buffer | undefined): Marker | undefined {
  return bytes && (JSON.parse(bytes.toString('utf8')) as Marker)
}

/** `prefix`: of a task that is not known yet. */
export const newMarker = (prefix: number): Marker => ({
  prefix,
  applied: null,
  applying: null,
  bytes: 0,
  states: [],
  packs: [],
})

/** Nothing of the task is to be left. */
export function empty(marker: Marker): void {
  Object.assign(marker, { applied: null, applying: UNKNOWN, bytes: 0, states: [], packs: [] })
}

/** The number of a state, given at its first use. */
export function stateIdOf(marker: Marker, identity: StateIdentity): number {
  const { states } = marker
  const known = states.findIndex((each) => each.operator === identity.operator && each.name === identity.name)
  if (known >= 0) return known
  const id = states.push(identity) - 1
  if (isPacked(identity)) packFor(marker, identity.operator).states.push(id)
  return id
}

/** The operator's last pack, or a new one if that is full. */
function packFor({ packs }: Marker, operator: string): Packed {
  const last = packs.findLast((pack) => pack.operator === operator)
  if (last && last.states.length < PACKED_MAX) return last
  const fresh = { operator, states: [] }
  packs.push(fresh)
  return fresh
}

export function placeOf({ packs }: Marker, state: number): Place | null {
  const pack = packs.findIndex(({ states }) => states.includes(state))
  return pack < 0 ? null : { pack, place: (packs[pack]?.states ?? []).indexOf(state) }
}

export function readPlanOf(marker: Marker, states: readonly number[]): ReadPlan {
  const packed = marker.packs.flatMap((pack, index) => {
    const places = pack.states.map((state) => states.indexOf(state))
    return places.some((place) => place >= 0) ? [{ entry: FIRST_PACK + index, places, at: -1 }] : []
  })
  const single = states.flatMap((state, at) => (placeOf(marker, state) ? [] : [{ entry: state, places: null, at }]))
  return [...packed, ...single]
}
