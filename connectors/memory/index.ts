export { MemoryLog, type MemoryRecord } from './log.ts'
export { MemoryReader } from './reader.ts'
export { MemoryLedger, memorySink } from './sink.ts'
