/** The ACLs of `millrace plan`, as a user gets them, and as Kafka wants them. */
import { fileURLToPath } from 'node:url'
import type { JavaAcl } from '../../connectors/kafka/testing/index.ts'
import type { Acl, PlanDescription } from '../../src/plan/describe.ts'
import { Cli } from './cli.ts'
import type { Job } from './harness.ts'

export const REFERENCE: string = fileURLToPath(new URL('./reference-pipeline.ts', import.meta.url))

export async function planned(job: Job): Promise<PlanDescription['acls']> {
  const { code, output } = await Cli.run(['plan', REFERENCE, '--json'], job.env)
  if (code !== 0) throw new Error(output)
  return (JSON.parse(output) as PlanDescription).acls
}

/** One ACL of Kafka's for each operation. */
export function asKafkas(acls: readonly Acl[]): JavaAcl[] {
  return acls.flatMap(({ resource, pattern, name, operations }) =>
    operations.map((operation) => ({
      principal: 'User:app',
      resourceType: resource.toUpperCase().replaceAll('-', '_'),
      name,
      patternType: pattern === 'prefixed' ? ('PREFIXED' as const) : ('LITERAL' as const),
      operation,
    })),
  )
}
