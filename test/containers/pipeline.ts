// The pipeline that the containers run: bid-totals as a user's module that is mounted into the image, written in TypeScript.
// The test broker advertises 127.0.0.1, which means the container itself there: its ports are reached through the host.
import type { Pipeline } from 'millrace'
import bidTotals from '../../pipelines/bid-totals.ts'

const pipeline: Pipeline = {
  ...bidTotals,
  options: { kafka: { translateAddress: (address) => address.replace('127.0.0.1', 'host.docker.internal') } },
}

export default pipeline
