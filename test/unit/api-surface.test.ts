/**
 * Goal: what the package exports changes only on purpose. Method: each entry point, imported by its public name, against a
 * literal list; types are held by test/types.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'

const surface: Readonly<Record<string, readonly string[]>> = {
  millrace: [
    'KeyedStream',
    'MillraceError',
    'PipelineBuilder',
    'StatefulStream',
    'Stream',
    'aggregatingState',
    'boolean',
    'bytes',
    'definePipeline',
    'errorTable',
    'f64',
    'int32',
    'int64',
    'json',
    'listState',
    'mapState',
    'nullable',
    'object',
    'ordered',
    'reducingState',
    'tuple',
    'unionListState',
    'utf8',
    'uuid',
    'valueState',
    'withMigration',
    'withTtl',
  ],
  'millrace/kafka': ['kafkaSink', 'kafkaSource'],
  'millrace/file': ['fileSink'],
  'millrace/connector': [
    'ByteReader',
    'ByteWriter',
    'ColumnarBatch',
    'DirectoryStore',
    'MemoryStore',
    'MillraceError',
    'STRIDE',
    'checkpointId',
  ],
  'millrace/testing': [
    'BrokerKitError',
    'JavaAdmin',
    'JavaCodec',
    'JavaProbeError',
    'JavaProducer',
    'PipelineTester',
    'brokerKitErrorCodes',
    'findBrokerKinds',
    'javaClientConfig',
    'javaConsume',
    'javaFollow',
    'javaProduce',
    'prepareProbes',
    'startBroker',
  ],
  'millrace/contract': [
    'checkpointStoreContract',
    'partitionReaderContract',
    'stateBackendContract',
    'twoPhaseSinkContract',
  ],
}

test.each(Object.entries(surface))('%s exports this and nothing else', async (entry, names) => {
  const exported = (await import(entry)) as object
  expect(Object.keys(exported).sort()).toEqual([...names].sort())
})

test('these are all entry points of the manifest', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    exports: Record<string, unknown>
  }
  const entries = Object.keys(manifest.exports).filter((path) => path !== './package.json')
  expect(entries.map((path) => `millrace${path.slice(1)}`).sort()).toEqual(Object.keys(surface).sort())
})

test('an error class is the same from every entry point', async () => {
  const [users, connectors] = await Promise.all([import('millrace'), import('millrace/connector')])
  expect(users.MillraceError).toBe(connectors.MillraceError)
})
