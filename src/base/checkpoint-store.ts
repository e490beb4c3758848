// The contract of a checkpoint store, here because `checkpoint` uses it and the ports of `dataflow` name it. A file is created
// once, durable when `create` resolves, never replaced; and a name that is there already is an error. Every store passes the
// contract suite (test/contract).

export interface CheckpointStore {
  /** For messages: where it is. */
  readonly location: string
  /** Makes the store ready for a pipeline; gives its id, the same for all that open it. @throws STORE_FOREIGN_FILE, STORE_UNWRITABLE */
  open(pipeline: string): Promise<string>
  /** `parts` follow one another; their memory is used again when the promise is settled: read it no more then. @throws STORE_UNWRITABLE, CHECKPOINT_TOO_LARGE */
  create(name: string, parts: readonly Buffer[]): Promise<void>
  /** undefined: not there. */
  read(name: string): Promise<Buffer | undefined>
  /** Part of a file; undefined: not there; shorter than asked: cut. */
  readRange(name: string, position: number, length: number): Promise<Buffer | undefined>
  list(): Promise<string[]>
  /** Deleting what is gone is no error. */
  delete(name: string): Promise<void>
}
