// The broker kit: part of the entry point `millrace/testing`.

export { BrokerKitError, type BrokerKitErrorCode } from './errors.ts'
export { startBroker } from './start-broker.ts'
export type { BrokerKind, BrokerNode, BrokerOptions, BrokerSecurity, TestBroker } from './test-broker.ts'
