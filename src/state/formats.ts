// How the values of a state are written, by name: the serde's id, its version where that is above 1 (`json v2`), and a stamp
// in front of each value where entries expire (`ttl(json v2)`). A checkpoint names the format of each state; one that has
// another name than the state has now can be read if it is an older version of it, or differs in the stamp only.
//
// Values become those of today while rows of a chain are read, one by one: by a list's items, by a map's entries. Files stay as they
// are until a base replaces them, so a migration that a crash breaks off simply happens again.
import { ByteWriter } from '../base/byte-writer.ts'
import { MillraceError, messageOf } from '../base/errors.ts'
import { joinItems, splitItems } from './collections.ts'
import type { ListState, MapState, StateDescriptor } from './descriptors.ts'
import { decodeState, encodeState, type Serde } from './serde.ts'
import { STAMP_BYTES, stamped, writeUnknownStamp } from './stamp.ts'

/** What `set` and `add` take, where a state's handle says so: an aggregating state's accumulator it does not. */
type ValueOf<Handle> =
  Handle extends MapState<infer _, infer V>
    ? V
    : Handle extends ListState<infer T>
      ? T
      : Handle extends { set(value: infer T): void }
        ? T
        : unknown

type OlderSerdes = Readonly<Record<number, Serde<unknown>>>
type DecodedBy<S> = S extends Serde<infer T> ? T : never

export interface MigrationOptions<Handle, Older extends OlderSerdes> {
  /** Of the state as it is now: 2 or more. A state without migration has version 1. */
  readonly version: number
  /** The serde of each older version that can be read; none any more: `{}`. */
  readonly older: Older
  /**
   * Makes a value of today of one of version `from`: a list's item, a map's value, an aggregating state's accumulator. It may be called
   * for the same value again, after each start, and must give the same then.
   */
  readonly migrate: (old: DecodedBy<Older[keyof Older]>, from: number) => ValueOf<Handle>
}

/**
 * Lets state go on whose values have changed. Checkpoints and savepoints with an older version are read, value by value; without it, or for a
 * version that is not listed, STATE_INCOMPATIBLE says so before the first record. Keys, and keys of maps, cannot change. Code of before does not
 * read what is written from here on.
 * @throws OPTION_INVALID
 * @example
 * withMigration(valueState(json<{ cents: number }>()), {
 *   version: 2,
 *   older: { 1: json<{ euros: number }>() },
 *   migrate: (old) => ({ cents: Math.round(old.euros * 100) }),
 * })
 */
export function withMigration<Handle, const Older extends OlderSerdes>(
  state: StateDescriptor<Handle>,
  { version, older, migrate }: MigrationOptions<Handle, Older>,
): StateDescriptor<Handle> {
  const byVersion = new Map(Object.entries(older).map(([each, serde]) => [Number(each), serde] as const))
  const wrong = [...byVersion.keys()].find((each) => !(Number.isInteger(each) && each >= 1 && each < version))
  if (!Number.isInteger(version) || version < 2 || wrong !== undefined) {
    const text = `withMigration: ${wrong === undefined ? `version ${version}` : `older version ${wrong}`}; a version is a whole number, 2 or more, and each older one is below it, from 1 up`
    throw new MillraceError('OPTION_INVALID', text)
  }
  return { ...state, versions: { version, older: byVersion, migrate: migrate as never } }
}

const named = (serde: Serde<unknown>, version: number): string => (version === 1 ? serde.id : `${serde.id} v${version}`)

/** The name of the format in which a state's values are written. */
export function formatOf({ serde, ttl, versions }: StateDescriptor<unknown>): string {
  const name = named(serde, versions?.version ?? 1)
  return ttl ? stamped(name) : name
}

/** A value in the format of today, of its bytes in another one. @throws STATE_INCOMPATIBLE */
export type Conversion = (kind: StateDescriptor<unknown>['kind'], value: Buffer) => Buffer

/** How to read what a format of this name wrote; null: as it is; undefined: not at all. `where`: for messages. */
export function conversionFrom(
  format: string,
  descriptor: StateDescriptor<unknown>,
  where: string,
): Conversion | null | undefined {
  if (format === formatOf(descriptor)) return null
  const { serde, versions } = descriptor
  const own = versions?.version ?? 1
  for (const [version, reader] of [[own, serde] as const, ...(versions?.older ?? [])]) {
    const name = named(reader, version)
    const hasStamp = format === stamped(name)
    if (!hasStamp && format !== name) continue
    const older = version === own ? null : { reader, version, where }
    const convert = (value: Buffer): Buffer => converted(value, descriptor, hasStamp, older)
    return (kind, value) => (kind === 'list' ? joinItems(splitItems(value).map(convert)) : convert(value))
  }
  return undefined
}

interface Older {
  readonly reader: Serde<unknown>
  readonly version: number
  readonly where: string
}

/** `older`: how the value was written; null: as it is now. */
function converted(
  value: Buffer,
  descriptor: StateDescriptor<unknown>,
  hasStamp: boolean,
  older: Older | null,
): Buffer {
  const plain = hasStamp ? value.subarray(STAMP_BYTES) : value
  const out = new ByteWriter(plain.length + STAMP_BYTES)
  if (descriptor.ttl && hasStamp) out.bytes(value, 0, STAMP_BYTES)
  else if (descriptor.ttl) writeUnknownStamp(out)
  if (older) migrateInto(out, plain, descriptor, older)
  else out.bytes(plain)
  return out.view()
}

function migrateInto(
  out: ByteWriter,
  plain: Buffer,
  { serde, versions }: StateDescriptor<unknown>,
  { reader, version, where }: Older,
): void {
  try {
    // Of a copy: what the user's function keeps must not change under it.
    encodeState(serde, versions?.migrate(decodeState(reader, Buffer.from(plain)), version), out)
  } catch (error) {
    const text = `${where}: migrating a value from version ${version} (${reader.id}) to ${versions?.version} (${serde.id}) failed: ${messageOf(error)}. Correct \`migrate\`; the checkpoint is as it was`
    throw new MillraceError('STATE_INCOMPATIBLE', text, { cause: error })
  }
}
