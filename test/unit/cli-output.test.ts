// Goal: a reader that goes away (`| head`) is no failure of a command. Method: the command line as a process, its output closed before it
// writes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@jest/globals'

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

test.each(['plan pipelines/bid-totals.ts', 'savepoint list test/fixtures/savepoint-1', 'help'])(
  '%s: nobody reads',
  async (line) => {
    const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
    const command = spawn(process.execPath, [...flags, main, ...line.split(' ')], { stdio: ['ignore', 'pipe', 'pipe'] })
    command.stdout.destroy()
    let said = ''
    command.stderr.on('data', (text) => {
      said += text
    })
    const [code] = await once(command, 'close')
    expect([code, said]).toEqual([0, ''])
  },
)
