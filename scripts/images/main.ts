// Makes or pulls both base images and prints their names, for trying out the Dockerfile and compose by hand:
//
//   node scripts/bootstrap.mjs scripts/images/main.ts
//   docker build --build-arg BASE=<node image> -t millrace .
//   KAFKA_IMAGE=<kafka image> docker compose up
import { assertDocker } from './docker.ts'
import { kafkaImage } from './kafka-image.ts'
import { nodeImage } from './node-image.ts'

const log = (line: string): void => void process.stderr.write(`${line}\n`)
try {
  await assertDocker()
  process.stdout.write(`kafka ${await kafkaImage(log)}\nnode ${await nodeImage(log)}\n`)
} catch (error) {
  log(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
