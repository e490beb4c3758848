// A program that starts a broker, stops it by SIGSTOP, says where it is, and dies at once by SIGKILL.
import { writeSync } from 'node:fs'
import { startBroker } from '../../connectors/kafka/testing/index.ts'

const broker = await startBroker({ kind: 'java' })
broker.nodes[0]?.pause()
writeSync(1, String(broker.nodes[0]?.pid))
process.kill(process.pid, 'SIGKILL')
