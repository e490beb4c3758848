// npm run build: the package as it is published, in dist/. Then looks at it as a user does, without the `source` condition:
// every entry point of the manifest must load, and the built command line must plan a built pipeline that imports the
// package by its own name.
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, runNode, tool } from './testing/child.ts'

interface Entry {
  readonly types: string
  readonly default: string
}

function fail(what: string, output: string): never {
  process.stderr.write(`${output}\nbuild: ${what}\n`)
  process.exit(1)
}

async function must(what: string, args: readonly string[]): Promise<string> {
  const { status, output } = await runNode(args, { output: 'capture' })
  if (status !== 0) fail(`${what} (exit code ${status})`, output)
  return output
}

rmSync(join(root, 'dist'), { recursive: true, force: true })
await must('tsc failed', [tool('typescript/bin/tsc'), '-p', 'tsconfig.build.json'])
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string
  exports: Record<string, Entry | string>
}
for (const [path, entry] of Object.entries(manifest.exports)) {
  if (typeof entry === 'string') continue
  readFileSync(join(root, entry.types))
  const specifier = manifest.name + path.slice(1)
  const program = `if (!import.meta.resolve('${specifier}').endsWith('${entry.default.slice(1)}')) process.exit(3); await import('${specifier}')`
  await must(`'${specifier}' does not load`, ['--input-type=module', '-e', program])
}
const plan = await must('the built command line does not plan', [
  'dist/src/cli/main.js',
  'plan',
  'dist/pipelines/bid-totals.js',
  '--json',
])
if ((JSON.parse(plan) as { pipeline: string }).pipeline !== 'bid-totals') fail('the plan is of something else', plan)
process.stdout.write(`build: dist/ is complete, ${Object.keys(manifest.exports).length - 1} entry points load\n`)
