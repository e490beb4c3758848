// npm run check: formatter and linter (Biome), then the type check, of the whole tree.
import { runNode, tool } from './testing/child.ts'
import { typeCheck } from './testing/types.ts'

const biome = await runNode([tool('@biomejs/biome/bin/biome'), 'check', '.'], { output: 'capture' })
process.stdout.write(biome.output)
const types = await typeCheck()
process.stdout.write(types.output)
const failed = [...(biome.status === 0 ? [] : ['Biome']), ...(types.status === 0 ? [] : ['tsc'])]
process.stdout.write(failed.length === 0 ? 'check: clean\n' : `check: failed (${failed.join(', ')})\n`)
process.exitCode = failed.length === 0 ? 0 : 1
