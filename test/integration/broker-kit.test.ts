// Goal: the brokers that all other tests stand on start, fail and come back as they say, and leave nothing behind.
// Method: real brokers as local Java processes (that every machine of ours has), observed through Kafka's Java client.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import {
  BrokerKitError,
  findBrokerKinds,
  JavaAdmin,
  JavaCodec,
  JavaProbeError,
  JavaProducer,
  javaClientConfig,
  javaConsume,
  javaFollow,
  javaProduce,
  startBroker,
  type TestBroker,
} from '../../connectors/kafka/testing/index.ts'
import { isAlive } from '../../connectors/kafka/testing/kafka-jars.ts'
import { waitUntil } from '../../connectors/kafka/testing/wait.ts'
import { withEnvironment } from '../support/environment.ts'

function onlyNode(broker: TestBroker): TestBroker['nodes'][number] {
  const node = broker.nodes[0]
  if (node === undefined) throw new Error('the broker has no nodes')
  return node
}

let broker: TestBroker
beforeAll(async () => {
  broker = await startBroker({ kind: 'java' })
})
afterAll(() => broker.close())

/** Where the kernel tells it. */
const onLinux = process.platform === 'linux' ? test : test.skip

describe('one broker', () => {
  onLinux('starts by an archive of classes and the quick compiler; one for load as in production', async () => {
    const flagsOf = (of: TestBroker) => readFile(`/proc/${onlyNode(of).pid}/cmdline`, 'utf8')
    const quick = ['-XX:SharedArchiveFile=', '-XX:TieredStopAtLevel=1']
    const flags = await flagsOf(broker)
    for (const flag of quick) expect(flags).toContain(flag)
    await using loaded = await startBroker({ kind: 'java', forLoad: true })
    const others = await flagsOf(loaded)
    for (const flag of quick) expect(others).not.toContain(flag)
  })

  test('killed and started again, it has the same address and data', async () => {
    const node = onlyNode(broker)
    const { brokers } = broker
    await using admin = await JavaAdmin.start({ brokers })
    await admin.createTopic('survivor', { partitions: 2 })
    const value = Buffer.from([0, 255, 10])
    const headers = [
      ['h', 'x'],
      ['n', null],
    ] as const
    await javaProduce({ brokers }, [
      { topic: 'survivor', partition: 0, key: 'a', value, timestamp: 1234, headers },
      { topic: 'survivor', partition: 1, key: null, value: null },
    ])
    const pid = node.pid
    await node.kill()
    expect(node.pid).toBeUndefined()
    await node.start()
    expect(node.pid).not.toBe(pid)
    expect(broker.brokers).toEqual([node.address])
    const { records, end } = await javaConsume({ brokers, topics: ['survivor'] })
    expect(end).toEqual(
      new Map([
        ['survivor-0', 1n],
        ['survivor-1', 1n],
      ]),
    )
    const first = records.find((record) => record.partition === 0)
    expect(first).toMatchObject({ offset: 0n, timestamp: 1234, key: Buffer.from('a'), value })
    expect(first?.headers).toEqual([
      ['h', Buffer.from('x')],
      ['n', null],
    ])
    expect(records.find((record) => record.partition === 1)).toMatchObject({ key: null, value: null })
  })

  test('paused it does not answer, resumed it does; a paused one can be killed', async () => {
    const node = onlyNode(broker)
    await using admin = await JavaAdmin.start({
      brokers: broker.brokers,
      config: { 'default.api.timeout.ms': '4000', 'request.timeout.ms': '3000' },
    })
    await admin.createTopic('paused')
    node.pause()
    await expect(admin.createTopic('never')).rejects.toMatchObject({ javaClass: 'TimeoutException' })
    node.resume()
    expect((await admin.describeTopic('paused')).partitions).toHaveLength(1)
    node.pause()
    await node.kill()
    expect(() => node.pause()).toThrow(expect.objectContaining({ code: 'BROKER_NOT_RUNNING' }))
    await node.start()
    expect((await admin.describeTopic('paused')).partitions).toHaveLength(1)
  })

  test('KAFKA_BROKERS makes it an external one, which has no nodes to kill', async () => {
    await withEnvironment({ KAFKA_BROKERS: broker.brokers.join(',') }, async () => {
      await using external = await startBroker()
      expect(external).toMatchObject({ kind: 'external', brokers: broker.brokers, nodes: [] })
      const unfit = startBroker({ kind: 'external', nodes: 3 })
      await expect(unfit).rejects.toThrow(/three nodes asked for, which the broker of KAFKA_BROKERS cannot be given/)
    })
  })
})

describe('the probes', () => {
  test('one that has ended says so to whoever asks it, and lets nobody wait', async () => {
    const { brokers } = broker
    const producer = await JavaProducer.start({ brokers })
    await producer.close()
    await expect(producer.flush()).rejects.toMatchObject({ code: 'PROBE_FAILED' })
    await expect(producer.send({ topic: 'money', value: 'late' })).rejects.toMatchObject({ code: 'PROBE_FAILED' })
  })

  test('they tell committed from aborted and open transactions', async () => {
    const { brokers } = broker
    await using admin = await JavaAdmin.start({ brokers })
    await admin.createTopic('money')
    await using producer = await JavaProducer.start({ brokers, transactionalId: 'teller', compression: 'zstd' })
    await producer.begin()
    await producer.send({ topic: 'money', value: 'aborted' })
    await producer.flush()
    await producer.abort()
    await producer.begin()
    await producer.send({ topic: 'money', value: 'committed' })
    await producer.sendOffsets('tellers', [{ topic: 'money', partition: 0, offset: 7n }])
    await producer.commit()
    await producer.begin()
    await producer.send({ topic: 'money', value: 'open' })
    await producer.flush()
    await producer.kill()

    const values = async (isolation: 'read_committed' | 'read_uncommitted'): Promise<(string | undefined)[]> => {
      const { records } = await javaConsume({ brokers, topics: ['money'], isolation })
      return records.map((record) => record.value?.toString())
    }
    expect(await values('read_committed')).toEqual(['committed'])
    expect(await values('read_uncommitted')).toEqual(['aborted', 'committed', 'open'])
    expect(await admin.listOffsets('money')).toEqual([{ partition: 0, earliest: 0n, latest: 4n }])
    expect(await admin.listOffsets('money', 'read_uncommitted')).toMatchObject([{ latest: 5n }])
    expect(await admin.listTransactions()).toMatchObject([{ transactionalId: 'teller', state: 'Ongoing' }])
    expect(await admin.listGroupOffsets('tellers')).toMatchObject([{ topic: 'money', partition: 0, offset: 7n }])
    const open = (await admin.describeProducers('money', 0)).find((state) => state.transactionStart !== null)
    expect(open).toMatchObject({ transactionStart: 4 })
    await admin.fenceProducers(['teller'])
    expect(
      await waitUntil(async () => (await admin.listOffsets('money'))[0]?.latest === 6n, { timeoutMs: 10_000 }),
    ).toBe(true)
  })

  test('a follower gets what comes after it began', async () => {
    const { brokers } = broker
    await using admin = await JavaAdmin.start({ brokers })
    await admin.createTopic('stream')
    const seen: string[] = []
    await using follower = await javaFollow({
      brokers,
      topics: ['stream'],
      onRecord: (record) => seen.push(String(record.value)),
    })
    await javaProduce(
      { brokers },
      ['a', 'b'].map((value) => ({ topic: 'stream', value })),
    )
    expect(await waitUntil(() => seen.length === 2, { timeoutMs: 10_000 })).toBe(true)
    await follower.close()
    expect(seen).toEqual(['a', 'b'])
  })
})

describe('three brokers', () => {
  test('with one killed, writes with all acknowledgements go on; started again, it comes back in sync', async () => {
    await using cluster = await startBroker({ kind: 'java', nodes: 3, heapMb: 400 })
    const [first, second] = cluster.nodes
    if (first === undefined || second === undefined) throw new Error('the cluster has too few nodes')
    const survivors = cluster.brokers.slice(1)
    await using admin = await JavaAdmin.start({ brokers: survivors })
    await admin.createTopic('replicated', { partitions: 3 })
    expect((await admin.describeTopic('replicated')).partitions[0]?.replicas).toHaveLength(3)
    await first.kill()
    const records = [0, 1, 2].map((partition) => ({ topic: 'replicated', partition, value: 'written' }))
    await javaProduce({ brokers: survivors }, records)
    const read = await javaConsume({ brokers: survivors, topics: ['replicated'] })
    expect(read.records).toHaveLength(3)
    await first.start()
    const inSync = async (): Promise<boolean> => {
      const { partitions } = await admin.describeTopic('replicated')
      return partitions.every((partition) => partition.isr.length === 3)
    }
    expect(await waitUntil(inSync, { timeoutMs: 60_000, everyMs: 500 })).toBe(true)
  })
})

describe('security', () => {
  test('SASL_SSL refuses a wrong password, lets the right one in, and denies what no ACL allows', async () => {
    await using secured = await startBroker({ kind: 'java', security: 'sasl-ssl', users: ['app'] })
    const { brokers } = secured
    const wrong = { brokers, config: javaClientConfig(secured, 'app', 'not the password') }
    const app = { brokers, config: javaClientConfig(secured, 'app') }
    await using admin = await JavaAdmin.start({ brokers, config: javaClientConfig(secured) })
    await admin.createTopic('vault')
    await expect(javaConsume({ ...wrong, topics: ['vault'] })).rejects.toMatchObject({
      code: 'PROBE_FAILED',
      javaClass: 'SaslAuthenticationException',
    })
    await expect(javaConsume({ ...app, topics: ['vault'] })).rejects.toMatchObject({
      javaClass: 'TopicAuthorizationException',
    })
    const read = { principal: 'User:app', resourceType: 'TOPIC', name: 'vault', operation: 'READ' }
    await admin.createAcls([read, { ...read, operation: 'DESCRIBE' }])
    await javaProduce({ brokers, config: javaClientConfig(secured) }, [{ topic: 'vault', value: 'gold' }])
    const inTime = await waitUntil(
      async () => (await javaConsume({ ...app, topics: ['vault'] }).catch(() => undefined))?.records.length === 1,
      { timeoutMs: 20_000 },
    )
    expect(inTime).toBe(true)
    await expect(javaProduce(app, [{ topic: 'vault', value: 'lead' }])).rejects.toBeInstanceOf(JavaProbeError)
    // A client that does not trust our authority must not get as far as the password.
    const untrusting = { ...app.config, 'ssl.truststore.certificates': '', 'ssl.truststore.type': 'JKS' }
    const { 'ssl.truststore.certificates': _, ...systemTrust } = untrusting
    await expect(javaConsume({ brokers, config: systemTrust, topics: ['vault'] })).rejects.toMatchObject({
      javaClass: 'SslAuthenticationException',
    })
  })
})

describe('what goes wrong', () => {
  const nothingHere = {
    KAFKA_BROKERS: undefined,
    MILLRACE_BROKER: undefined,
    JAVA_HOME: '/nonexistent',
    PATH: '/nonexistent',
    DOCKER_HOST: 'unix:///nonexistent/docker.sock',
    MILLRACE_CACHE: join(tmpdir(), 'millrace-no-cache'),
  }

  test('where no way is possible, the error says what each of them lacks', async () => {
    await withEnvironment(nothingHere, async () => {
      const error = await startBroker().catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(BrokerKitError)
      expect(error).toMatchObject({ code: 'BROKER_NONE_AVAILABLE' })
      const message = String(error)
      expect(message).toMatch(/external: missing: KAFKA_BROKERS is not set/)
      expect(message).toMatch(/container: missing: a running Docker engine/)
      expect(message).toMatch(/java: missing: Java 17 or newer .*; Maven/)
      const kinds = await findBrokerKinds()
      expect(kinds.map((report) => report.possible)).toEqual([false, false, false])
    })
  })

  test('a forced way is the only one tried, and a misspelt one is refused', async () => {
    await withEnvironment({ ...nothingHere, MILLRACE_BROKER: 'container' }, async () => {
      await expect(startBroker()).rejects.toThrow(/^no 'container' broker:\n {2}container: missing: [^\n]+$/)
    })
    await withEnvironment({ MILLRACE_BROKER: 'podman' }, async () => {
      await expect(startBroker()).rejects.toThrow(TypeError)
    })
  })

  test('an external broker that does not answer is named', async () => {
    await withEnvironment({ KAFKA_BROKERS: '127.0.0.1:1' }, async () => {
      await expect(startBroker()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: /127\.0\.0\.1:1/ })
    })
  })

  test('a broker that ends while it starts shows the end of its log, and the log stays', async () => {
    const error = await startBroker({ kind: 'java', settings: { 'num.io.threads': '0' } }).catch(
      (reason: unknown) => reason,
    )
    expect(error).toMatchObject({ code: 'BROKER_START_FAILED' })
    expect(String(error)).toMatch(/num\.io\.threads/)
    const folder = /(\S+millrace-broker-\w+)/.exec(String(error))?.[1]
    if (folder === undefined) throw new Error('the error names no log')
    expect(existsSync(folder)).toBe(true)
    await rm(folder, { recursive: true })
  })

  test('a broker, even a paused one, ends with a parent that dies by SIGKILL', async () => {
    const program = join(import.meta.dirname, '..', 'support', 'orphan-broker.ts')
    const args = ['--conditions=source', '--disable-warning=ExperimentalWarning', program]
    const died = await promisify(execFile)(process.execPath, args).catch((error: unknown) => error)
    const { signal, stdout } = died as { signal: string; stdout: string }
    expect(signal).toBe('SIGKILL')
    const pid = Number(stdout)
    expect(pid).toBeGreaterThan(1)
    expect(await waitUntil(() => !isAlive(pid), { timeoutMs: 10_000 })).toBe(true)
  })
})

describe('the Java codec', () => {
  test('decodes what it encodes and refuses a wrong checksum', async () => {
    await using codec = new JavaCodec()
    const head = { producerId: 5n, producerEpoch: 1 }
    const bytes = await codec.encode(
      {
        ...head,
        baseOffset: 100n,
        baseSequence: 7,
        transactional: true,
        compression: 'lz4',
        records: [{ key: 'a', value: null, timestamp: 5, headers: [['h', null]] }],
      },
      { ...head, baseOffset: 101n, control: 'abort', coordinatorEpoch: 3 },
    )
    const decoded = await codec.decode(Buffer.concat([bytes, Buffer.alloc(3)]))
    expect(decoded.trailingBytes).toBe(3)
    const [data, control] = decoded.batches
    expect(data).toMatchObject({
      valid: true,
      baseOffset: 100n,
      producerId: 5n,
      baseSequence: 7,
      transactional: true,
      compression: 'lz4',
    })
    expect(data?.records).toMatchObject([
      { offset: 100n, timestamp: 5, key: Buffer.from('a'), value: null, headers: [['h', null]] },
    ])
    expect(control).toMatchObject({ control: true, records: [{ controlType: 'ABORT', coordinatorEpoch: 3 }] })
    const last = bytes.length - 1
    bytes.writeUInt8(bytes.readUInt8(last) ^ 1, last)
    expect((await codec.decode(bytes)).batches[1]).toMatchObject({ valid: false, records: [] })
    await expect(codec.decode(Buffer.alloc(30))).rejects.toMatchObject({ javaClass: 'CorruptRecordException' })
  })
})
