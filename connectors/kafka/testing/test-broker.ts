// The shape of what `startBroker` gives, whichever way the broker came to be.

/** One broker process or container. All brokers here are also controllers. */
export interface BrokerNode {
  /** Kafka's node id, from 1. */
  readonly id: number
  /** `127.0.0.1:port`, the client listener; stays the same over kill and start. */
  readonly address: string
  /** The broker's process id while it runs as a local Java process. */
  readonly pid?: number | undefined
  /** SIGKILL; resolves when it is gone. Works on a paused node too. */
  kill(): Promise<void>
  /** SIGTERM (a controlled shutdown); resolves when it is gone. A paused node is resumed first. */
  stop(): Promise<void>
  /** SIGSTOP: sockets stay open and accept, nothing answers. @throws BrokerKitError BROKER_NOT_RUNNING */
  pause(): void
  /** SIGCONT. @throws BrokerKitError BROKER_NOT_RUNNING */
  resume(): void
  /** Starts it again on the same data and port; resolves when it answers. Does nothing while it runs. */
  start(): Promise<void>
}

/** Only with `security: 'sasl-ssl'`. */
export interface BrokerSecurity {
  /** The certificate authority, as PEM text; the broker's certificate is for `127.0.0.1` and `localhost`. */
  readonly ca: string
  /** Password by user: {@link superUser} and every name of the `users` option. Made at random on each start. */
  readonly users: Readonly<Record<string, string>>
  /** May do everything. Every other user is denied what no ACL allows. */
  readonly superUser: string
  /** One that they may use; the brokers also take SCRAM-SHA-512 and PLAIN. */
  readonly mechanism: 'scram-sha-256'
}

/** A broker or cluster for a test, ready to serve. */
export interface TestBroker extends AsyncDisposable {
  readonly kind: BrokerKind
  /** Bootstrap addresses, `host:port` each. */
  readonly brokers: readonly string[]
  /** Empty when external: somebody else's broker is not ours to kill. */
  readonly nodes: readonly BrokerNode[]
  readonly security?: BrokerSecurity
  /** Ends exactly what was started and removes its data. Idempotent. */
  close(): Promise<void>
}

export type BrokerKind = 'external' | 'container' | 'java'

export interface BrokerOptions {
  /** How many brokers: default 1. With 3: replication factor 3, min ISR 2, and a dead one is noticed within 3 s. */
  readonly nodes?: 1 | 3
  /** server.properties entries that replace or add to the kit's own. */
  readonly settings?: Readonly<Record<string, string>>
  /** Default 'plaintext'. 'sasl-ssl': SCRAM or PLAIN over TLS, ACLs on, all denied but to the super user. */
  readonly security?: 'plaintext' | 'sasl-ssl'
  /** Users besides the super user `admin` with 'sasl-ssl'; default `['app']`. */
  readonly users?: readonly string[]
  /** Takes only this way; default: MILLRACE_BROKER, else the first that is possible and can do what is asked. */
  readonly kind?: BrokerKind
  /** Called with what is being done, a line at a time; default: silence. */
  readonly log?: (line: string) => void
  /** Java heap of each broker in MiB; default 512. */
  readonly heapMb?: number
  /**
   * Java processes only. Default false: by an archive of Kafka's classes and the JVM's quick compiler alone a broker is ready
   * sooner and takes less of the processor in its first minutes, and more under a load of hours. True: as in production.
   */
  readonly forLoad?: boolean
}

/** {@link BrokerOptions} with every default put in. */
export interface BrokerRequest {
  readonly nodes: 1 | 3
  readonly settings: Readonly<Record<string, string>>
  readonly security: 'plaintext' | 'sasl-ssl'
  readonly users: readonly string[]
  readonly log: (line: string) => void
  readonly heapMb: number
  readonly forLoad: boolean
}
