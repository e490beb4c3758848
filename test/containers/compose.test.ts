/**
 * Goal: `docker compose up --build`, as README and docker-compose.yml have it, runs the example exactly once, checkpoints in a topic of
 * the broker, while a worker is killed and comes back by the commands that stand there. Method: those commands, for a project with ports of
 * its own; the bids and the verdict of containers.test.ts. Needs Docker and compose.
 */
import { expect, test } from '@jest/globals'
import { Compose } from '../../scripts/images/compose.ts'
import { bidsThroughAKill } from './bids-through-a-kill.ts'

const log = (line: string): void => void process.stderr.write(`  ${line}\n`)

const listTopics = ['/opt/kafka/bin/kafka-topics.sh', '--bootstrap-server', 'kafka:19092', '--list']

test('docker compose: a worker killed and started again loses, doubles and reorders nothing', async () => {
  await using compose = await Compose.up(log)
  const start = async () => ({
    first: await compose.container('worker-1'),
    second: await compose.container('worker-2'),
    kill: () => compose.run('kill', 'worker-2').then(() => undefined),
    comeBack: () => compose.run('up', '-d', 'worker-2').then(() => undefined),
  })
  try {
    await bidsThroughAKill({ brokers: compose.brokers, records: 60_000, start, log })
    expect(await compose.run('exec', '-T', 'kafka', ...listTopics)).toContain('millrace.bid-totals.checkpoints')
  } catch (error) {
    log(await compose.run('logs', '--tail', '40'))
    throw error
  }
}, 900_000)
