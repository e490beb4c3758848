// One broker for everybody who needs one: `npm start`, the tests, the bench, users' own tests.
import { startJavaBroker } from './java-broker.ts'
import type { BrokerOptions, TestBroker } from './test-broker.ts'

export async function startBroker(options: BrokerOptions = {}): Promise<TestBroker> {
  return startJavaBroker({
    nodes: options.nodes ?? 1,
    settings: options.settings ?? {},
    security: options.security ?? 'plaintext',
    users: options.users ?? ['app'],
    log: options.log ?? (() => undefined),
    heapMb: options.heapMb ?? 512,
  })
}
