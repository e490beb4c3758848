// A state of each kind, for tests of what a cache keeps of them.
import {
  f64,
  json,
  type ListState,
  listState,
  type MapState,
  mapState,
  type StateDescriptors,
  utf8,
  type ValueState,
  valueState,
} from '../../src/index.ts'
import type { TaskOnDisk } from './task-on-disk.ts'

export interface Handles {
  readonly count: ValueState<number, undefined>
  readonly note: ValueState<object, undefined>
  readonly items: ListState<string>
  readonly seen: MapState<string, string>
}

export const states: StateDescriptors = {
  count: valueState(f64),
  note: valueState(json<object>()),
  items: listState(utf8),
  seen: mapState(utf8, utf8),
}

export type Keyed = Pick<TaskOnDisk, 'setKey' | 'handles'>

export function at(task: Keyed, key: string): Handles {
  task.setKey(key)
  return task.handles as unknown as Handles
}
