export { MemoryLog, type MemoryRecord } from './log.ts'
export { PipelineTester, type TesterOptions, type TestOutput, type TestRecord } from './pipeline-tester.ts'
export { MemoryReader } from './reader.ts'
export { MemoryLedger, memorySink } from './sink.ts'
