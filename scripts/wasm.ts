// npm run wasm: compiles wasm/ into src/state/json-module.ts. Only who changes the sources needs it: the compiler is 100 MB, and so it is
// fetched here and is no dependency.
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runCommand } from '../connectors/kafka/testing/run-command.ts'

const compiler = 'assemblyscript@0.28.20'
const root = join(import.meta.dirname, '..')
const folderOfSources = join(root, 'wasm')
const sources = readdirSync(folderOfSources)
  .sort()
  .map((name) => join(folderOfSources, name))
const target = join(root, 'src', 'state', 'json-module.ts')
/** In pages of 64 KiB; longer texts are left to JSON.parse. */
const memory = ['--initialMemory', '64', '--maximumMemory', '64']
const limitMs = 300_000
const columns = 100

const folder = mkdtempSync(join(tmpdir(), 'millrace-wasm-'))
try {
  const out = join(folder, 'module.wasm')
  const options = ['-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', ...memory]
  const asc = ['--yes', '--package', compiler, 'asc', join(folderOfSources, 'index.ts'), ...options, '--outFile', out]
  const { status, stdout, stderr } = await runCommand('npx', asc, { timeoutMs: limitMs })
  if (status !== 0) throw new Error(`the compiler failed:\n${stdout}\n${stderr}`)
  const lines =
    readFileSync(out)
      .toString('base64')
      .match(new RegExp(`.{1,${columns}}`, 'g')) ?? []
  const hash = createHash('sha256')
  for (const path of [...sources, import.meta.filename]) hash.update(readFileSync(path))
  writeFileSync(
    target,
    `// Made by \`npm run wasm\` from wasm/.

/** Of the sources and the script that compiles them, in hexadecimal. */
export const sourcesSha256: string = '${hash.digest('hex')}'

export const moduleBase64: string = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('')
`,
  )
  process.stdout.write(`${target}: ${readFileSync(out).length} bytes of WebAssembly\n`)
} finally {
  rmSync(folder, { recursive: true })
}
