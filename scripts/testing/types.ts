// The type check of the whole tree as tests: one for each file of type tests, one for everything else.
import { relative, resolve } from 'node:path'
import { root, runNode, tool } from './child.ts'
import { count, failure, nothing, success, type Tally } from './tally.ts'

export function typeCheck(): ReturnType<typeof runNode> {
  return runNode([tool('typescript/bin/tsc'), '--noEmit', '--pretty', 'false', '-p', '.'], { output: 'capture' })
}

export async function runTypeTests(files: readonly string[]): Promise<Tally> {
  const { status, output } = await typeCheck()
  const broken = new Set<string>()
  for (const [, file] of output.matchAll(/^(.+?)\(\d+,\d+\): error /gm))
    broken.add(relative(root, resolve(root, file ?? '')))
  if (output.trim() !== '') process.stderr.write(output)
  let tally = nothing
  for (const file of files) tally = count(tally, broken.has(file) ? failure(`${file} does not type-check`) : success)
  const others = [...broken].filter((file) => !files.includes(file))
  const whole = status === 0 || (broken.size > 0 && others.length === 0)
  return count(tally, whole ? success : failure(`tsc: ${others.join(', ') || `exit code ${status}`}`))
}
