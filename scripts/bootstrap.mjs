// The first thing `npm start` and `npm test` run, on whatever Node the machine has (≥ 20): installs the locked
// dependencies when the lock file changed, then hands over to the pinned Node with its full path.
// Built-ins only; plain JavaScript, because the Node that runs this may not strip types.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const stamp = join(root, 'node_modules', '.millrace-lock')
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'

function fail(message) {
  process.stderr.write(`millrace: ${message}\n`)
  // The main job ends with a verdict line whatever happens: scripts read it.
  if (process.argv[2]?.includes('demo')) process.stdout.write('verdict error=SETUP_FAILED\n')
  process.exit(2)
}

function lockHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
}

function install() {
  const hash = lockHash()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return
  process.stderr.write('millrace: installing the locked dependencies (npm ci) …\n')
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  const result = spawnSync(npm, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.status !== 0) fail('npm ci failed (see above); the registry must be reachable for the first run')
  writeFileSync(stamp, hash)
}

/** The `node` package puts its binary here by an install script; where scripts are off we fetch the platform's own package. */
function pinnedNode() {
  const version = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devDependencies.node
  const exe = process.platform === 'win32' ? 'node.exe' : 'node'
  const platformPackage = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const candidates = [join(root, 'node_modules/node/bin', exe), join(root, 'node_modules', platformPackage, 'bin', exe)]
  const works = (path) => existsSync(path) && spawnSync(path, ['--version']).stdout?.toString().trim() === `v${version}`
  let found = candidates.find(works)
  if (found) return found
  const args = [
    'install',
    '--no-save',
    '--no-package-lock',
    '--ignore-scripts',
    '--loglevel=error',
    `${platformPackage}@${version}`,
  ]
  spawnSync(npm, args, { cwd: root, stdio: ['ignore', 2, 2] })
  found = candidates.find(works)
  if (!found)
    fail(
      `Node ${version} could not be installed for ${process.platform}-${process.arch} (npm package ${platformPackage})`,
    )
  return found
}

if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Node ≥ 20 is needed to start; this is ${process.versions.node}`)
const [script, ...args] = process.argv.slice(2)
if (!script) fail('usage: node scripts/bootstrap.mjs <script.ts> [arguments]')
install()
const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
const child = spawn(pinnedNode(), [...flags, resolve(root, script), ...args], { stdio: 'inherit' })
// Ctrl-C reaches the whole process group by itself; a plain kill of this process must reach the child too.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 1)))
