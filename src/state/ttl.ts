// Time to live: entries of keyed state that expire. A value, a list's item, a map's entry each has a stamp of its own (stamp.ts). What is
// expired is removed when a function comes upon it, and by the cleaner in the background (cleaner.ts).
import { MillraceError } from '../base/errors.ts'
import type { ListState, MapRange, MapState, StateDescriptor, Ttl, ValueState } from './descriptors.ts'
import { ownBytes } from './heap/table.ts'
import { isExpired, lacksTime, Stamped, stampedSerde } from './stamp.ts'

/** As Flink's StateTtlConfig has them. */
export interface TtlOptions {
  /** How long an entry lives, in ms. */
  readonly ttlMs: number
  /** What its time begins with: creating or writing it (default), or reading it, too (each read is then a write). */
  readonly update?: 'on-write' | 'on-read-and-write'
  /** Default: what is expired is never given. The other one gives it as long as nothing has removed it. */
  readonly visibility?: 'never-return-expired' | 'return-expired-if-not-cleaned-up'
  /**
   * Default: the machine's clock. `record-time`: the timestamp of the record that is being processed; timers and the cleaner go by the
   * latest one that was seen, so a record that comes much too late may find an entry gone.
   */
  readonly clock?: 'processing-time' | 'record-time'
}

/**
 * Lets the entries of a state expire: a value, each item of a list, each entry of a map. May be added to a state that is there, changed, and taken
 * away again. Entries from before live from when they are first seen.
 * @throws OPTION_INVALID
 * @example withTtl(mapState(utf8, json<Session>()), { ttlMs: 3_600_000, update: 'on-read-and-write' })
 */
export function withTtl<Handle>(state: StateDescriptor<Handle>, options: TtlOptions): StateDescriptor<Handle> {
  const { ttlMs, update = 'on-write', visibility = 'never-return-expired', clock = 'processing-time' } = options
  const known =
    ['on-write', 'on-read-and-write'].includes(update) &&
    ['never-return-expired', 'return-expired-if-not-cleaned-up'].includes(visibility) &&
    ['processing-time', 'record-time'].includes(clock)
  if (!(Number.isFinite(ttlMs) && ttlMs > 0) || !known) {
    const text = `withTtl: ${JSON.stringify({ ttlMs, update, visibility, clock })}; ttlMs is a number of milliseconds above 0, the others are listed in TtlOptions`
    throw new MillraceError('OPTION_INVALID', text)
  }
  return { ...state, ttl: { ttlMs, update, visibility, clock } }
}

/** The handle of a state whose entries expire. */
export interface Expiring<Handle> {
  readonly handle: Handle
  /** Removes what is expired of the current key. */
  clean(): void
}

/** A state whose entries expire: its number on disk, and what time it is by its clock. */
export interface ExpiringState {
  readonly id: number
  readonly kind: StateDescriptor<unknown>['kind']
  readonly ttl: Ttl
  readonly now: () => number
}

const showsExpired = ({ visibility }: Ttl): boolean => visibility === 'return-expired-if-not-cleaned-up'

/** Reading it writes it. */
function isRefreshed(atMs: number, nowMs: number, { update }: Ttl): boolean {
  return lacksTime(atMs, nowMs) || (update === 'on-read-and-write' && nowMs > atMs)
}

/** `now`: by the state's clock. */
function expiringValue(
  base: ValueState<Stamped, undefined>,
  { ttl, initial = () => undefined }: { readonly ttl: Ttl; readonly initial?: (() => unknown) | undefined },
  now: () => number,
): Expiring<ValueState<unknown, undefined>> {
  const get = (): unknown => {
    const found = base.get()
    if (!found) return initial()
    const nowMs = now()
    if (isExpired(found.atMs, nowMs, ttl)) {
      base.clear()
      return showsExpired(ttl) ? found.value : initial()
    }
    if (isRefreshed(found.atMs, nowMs, ttl)) base.set(new Stamped(nowMs, found.value))
    return found.value
  }
  return {
    handle: {
      get: get as () => undefined,
      set: (value) => base.set((value === undefined ? value : new Stamped(now(), ownBytes(value))) as Stamped),
      clear: () => base.clear(),
    },
    clean() {
      const found = base.get()
      if (!found) return
      const nowMs = now()
      if (isExpired(found.atMs, nowMs, ttl)) base.clear()
      else if (lacksTime(found.atMs, nowMs)) base.set(new Stamped(nowMs, found.value))
    },
  }
}

function expiringList(base: ListState<Stamped>, ttl: Ttl, now: () => number): Expiring<ListState<unknown>> {
  const stamp = (value: unknown): Stamped => new Stamped(now(), ownBytes(value))
  /** Writes the list anew if that changes it; gives what was alive. */
  const keep = (items: readonly Stamped[], isStale: (atMs: number, nowMs: number) => boolean): readonly Stamped[] => {
    const nowMs = now()
    const alive = items.filter(({ atMs }) => !isExpired(atMs, nowMs, ttl))
    const stale = alive.some(({ atMs }) => isStale(atMs, nowMs))
    if (stale) base.set(alive.map((item) => (isStale(item.atMs, nowMs) ? new Stamped(nowMs, item.value) : item)))
    else if (alive.length < items.length) base.set(alive)
    return alive
  }
  return {
    handle: {
      get() {
        const items = base.get() as readonly Stamped[]
        const alive = keep(items, (atMs, nowMs) => isRefreshed(atMs, nowMs, ttl))
        return (showsExpired(ttl) ? items : alive).map(({ value }) => value as object)
      },
      add: (value) => base.add(stamp(value)),
      addAll: (values) => base.addAll(Array.from(values, stamp)),
      set: (values) => base.set(Array.from(values, stamp)),
      clear: () => base.clear(),
    },
    clean: () => void keep(base.get() as readonly Stamped[], lacksTime),
  }
}

function expiringMap(
  base: MapState<unknown, Stamped>,
  ttl: Ttl,
  now: () => number,
): Expiring<MapState<unknown, unknown>> {
  /** undefined: expired, and not to be seen. */
  const visible = (key: unknown, found: Stamped, nowMs: number): Stamped | undefined => {
    if (isExpired(found.atMs, nowMs, ttl)) {
      base.delete(key)
      return showsExpired(ttl) ? found : undefined
    }
    if (isRefreshed(found.atMs, nowMs, ttl)) base.set(key, new Stamped(nowMs, found.value))
    return found
  }
  function* entries(range?: MapRange<unknown>): IterableIterator<[unknown, object]> {
    const nowMs = now()
    for (const [key, found] of base.entries(range)) {
      const seen = visible(key, found as Stamped, nowMs)
      if (seen) yield [key, seen.value as object]
    }
  }
  /** Without touching it. */
  const isSeen = (found: Stamped, nowMs: number): boolean => showsExpired(ttl) || !isExpired(found.atMs, nowMs, ttl)
  return {
    handle: {
      get(key) {
        const found = base.get(key) as Stamped | undefined
        return found && (visible(key, found, now())?.value as object | undefined)
      },
      set: (key, value) => base.set(key, new Stamped(now(), ownBytes(value))),
      has(key) {
        const found = base.get(key) as Stamped | undefined
        return found !== undefined && isSeen(found, now())
      },
      delete: (key) => base.delete(key),
      *keys(range) {
        for (const [key] of entries(range)) yield key
      },
      *values(range) {
        for (const [, value] of entries(range)) yield value
      },
      entries,
      get size() {
        const nowMs = now()
        let count = 0
        for (const found of base.values()) if (isSeen(found as Stamped, nowMs)) count++
        return count
      },
      clear: () => base.clear(),
    },
    clean() {
      const nowMs = now()
      for (const [key, found] of base.entries()) {
        const { atMs, value } = found as Stamped
        if (isExpired(atMs, nowMs, ttl)) base.delete(key)
        else if (lacksTime(atMs, nowMs)) base.set(key, new Stamped(nowMs, value))
      }
    },
  }
}

/** What a table keeps of a state: with a time beside each value where they expire. */
export function keptAs(descriptor: StateDescriptor<unknown>): StateDescriptor<unknown> {
  const { kind, serde, ttl, mapKey } = descriptor
  return ttl ? { kind, serde: stampedSerde(serde, ttl.clock), ...(mapKey ? { mapKey } : {}) } : descriptor
}

/** The handle of `base`, a state of stamped values, as its users see it. */
export function expiring(
  base: unknown,
  descriptor: StateDescriptor<unknown>,
  ttl: Ttl,
  now: () => number,
): Expiring<unknown> {
  switch (descriptor.kind) {
    case 'list':
      return expiringList(base as ListState<Stamped>, ttl, now)
    case 'map':
      return expiringMap(base as MapState<unknown, Stamped>, ttl, now)
    default:
      return expiringValue(base as ValueState<Stamped, undefined>, { ttl, initial: descriptor.initial }, now)
  }
}
