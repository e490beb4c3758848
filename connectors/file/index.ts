export { type FileSinkOptions, fileSink } from './sink.ts'
