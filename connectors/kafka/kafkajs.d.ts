// kafkajs ships no types for its internals; this is the part of `Connection` that client.ts uses (kafkajs 2.2.4).
declare module 'kafkajs/src/network/connection.js' {
  import type { Socket } from 'node:net'

  interface KafkaJsLogger {
    namespace(): KafkaJsLogger
    info(message: string): void
    error(message: string): void
    warn(message: string): void
    debug(message: string): void
  }

  export default class Connection {
    constructor(options: Record<string, unknown> & { logger: KafkaJsLogger })
    socket: Socket | null
    sessionLifetime: { toString(): string }
    requestQueue: { destroy(): void; scheduleCheckPendingRequests: () => void }
    setVersions(versions: Record<number, { minVersion: number; maxVersion: number }>): void
    setSupportAuthenticationProtocol(supported: boolean): void
    connect(): Promise<boolean>
    authenticate(): Promise<void>
  }
}
