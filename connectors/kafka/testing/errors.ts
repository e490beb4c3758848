// The broker kit's one error class. The message says what happened, what was expected and what to do.

/** What each code means; the remedy is in the message of the error itself. */
export const brokerKitErrorCodes = {
  BROKER_NONE_AVAILABLE: 'none of the ways to get a broker is possible here',
  BROKER_START_FAILED: 'a broker process or container ended, or did not answer in time, while it started',
  BROKER_UNREACHABLE: 'the external broker named by KAFKA_BROKERS does not answer',
  BROKER_JARS_UNAVAILABLE: "Kafka's jars could not be resolved by Maven",
  BROKER_STOP_FAILED: 'a broker process or container did not end in time',
  BROKER_NOT_RUNNING: 'a fault was asked of a broker that does not run',
  PROBE_UNAVAILABLE:
    'the Java probes cannot run here: neither a JDK nor Docker with Kafka’s image, or the compiler failed',
  PROBE_FAILED: 'a Java probe answered with an error, or ended early',
} as const

export type BrokerKitErrorCode = keyof typeof brokerKitErrorCodes

/** Everything the broker kit and the Java probes throw, apart from `TypeError` for a caller's mistake. */
export class BrokerKitError extends Error {
  readonly code: BrokerKitErrorCode

  constructor(code: BrokerKitErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'BrokerKitError'
    this.code = code
  }
}
