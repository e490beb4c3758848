/**
 * Goal: the rules of style that no linter here checks are kept. Method: the sources are read as text: imports, sizes and
 * forbidden words; each failure names the file.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

interface SourceFile {
  /** From the root, with forward slashes. */
  readonly path: string
  readonly text: string
  /** Without comments, and with strings kept. */
  readonly code: string
  readonly imports: readonly string[]
}

/** Line and block comments go; strings and templates stay, so that a `//` inside them is no comment. */
const commentOrString = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g

function withoutComments(text: string): string {
  return text.replace(commentOrString, (found) => (found.startsWith('/') ? '' : found))
}

/** Static, dynamic and type imports, re-exports, and `require` in whatever way it was made. */
const importers = [
  /\b(?:import|export)\b[^'"`;]*?\bfrom\s*'([^']+)'/g,
  /\bimport\s*'([^']+)'/g,
  /\bimport\(\s*'([^']+)'/g,
  /\brequire(?:\.resolve)?\(\s*'([^']+)'/g,
  /\bcreateRequire\([^()]*\)\(\s*'([^']+)'/g,
]

function importsOf(code: string): string[] {
  return importers.flatMap((importer) => [...code.matchAll(importer)].map((found) => found[1] ?? ''))
}

function filesUnder(folder: string, endings: readonly string[] = ['.ts']): SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile() && endings.some((ending) => each.name.endsWith(ending)))
    .map((each) => {
      const full = join(each.parentPath, each.name)
      const text = readFileSync(full, 'utf8')
      const code = withoutComments(text)
      return { path: relative(root, full).split(sep).join('/'), text, code, imports: importsOf(code) }
    })
}

const engine = filesUnder('src')
const connectors = filesUnder('connectors')
const shipped = [...engine, ...connectors]
const testing = (path: string): boolean => path.startsWith('connectors/kafka/testing/')

/** Where a relative import leads, from the root. */
function target(file: SourceFile, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(file.path), specifier))
}

const relativeImports = (file: SourceFile): string[] =>
  file.imports.filter((each) => each.startsWith('.')).map((each) => target(file, each))

/** `@scope/name/path` → `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

const thirdParty = (file: SourceFile): string[] => [
  ...new Set(file.imports.filter((each) => !/^(\.|node:)/.test(each)).map(packageOf)),
]

function offenders(files: readonly SourceFile[], broken: (file: SourceFile) => boolean): string[] {
  return files.filter(broken).map((file) => file.path)
}

describe('the test itself', () => {
  test('sees the sources and their imports', () => {
    expect(engine.length).toBeGreaterThan(20)
    expect(connectors.length).toBeGreaterThan(20)
    expect(importsOf(`import type { A } from './a.ts'\nexport * from './b.ts'\nawait import('c')`)).toEqual([
      './a.ts',
      './b.ts',
      'c',
    ])
    expect(importsOf(withoutComments(`// from 'x'\n/* import 'y' */ const z = 'http://a' // b`))).toEqual([])
    expect(importsOf(`createRequire(import.meta.url)('@a/b')`)).toEqual(['@a/b'])
    expect(importsOf(`import {\n  a,\n  type B,\n} from 'd'`)).toEqual(['d'])
    const crc = shipped.find((file) => file.path === 'src/base/crc32c.ts')
    expect(crc && thirdParty(crc)).toEqual(['@node-rs/crc32'])
  })
})

describe('size and words', () => {
  test('no file has more than 500 lines', () => {
    expect(offenders(shipped, (file) => file.text.split('\n').length > 501)).toEqual([])
  })

  test('wall time, timers and randomness come from src/base/clock.ts only', () => {
    const impure = /\b(Date\.now|Math\.random|setTimeout|setInterval)\b|new Date\(\)|\bDate\(\)/
    const outside = shipped.filter((file) => file.path !== 'src/base/clock.ts')
    expect(offenders(outside, (file) => impure.test(file.code))).toEqual([])
  })

  test('no `any`', () => {
    expect(offenders(shipped, (file) => /:\s*any\b|\bas any\b|<any>/.test(file.code))).toEqual([])
  })

  test('nothing is left to do', () => {
    expect(offenders(shipped, (file) => /\b(TODO|FIXME|XXX)\b/.test(file.text))).toEqual([])
  })

  test('no folder or file is named after a kind of code', () => {
    const folders = /(^|\/)(utils?|common|helpers|types|misc)(\/|\.ts$)/
    expect(offenders(shipped, (file) => folders.test(file.path))).toEqual([])
  })
})

describe('packages of others', () => {
  test('kafkajs is imported by connectors/kafka/client.ts only', () => {
    const importing = offenders(shipped, (file) => thirdParty(file).includes('kafkajs'))
    expect(importing).toEqual(['connectors/kafka/client.ts'])
  })

  test('each is imported by one file; the broker kit has testcontainers and nothing else of its own', () => {
    const byPackage = new Map<string, string[]>()
    // A `.d.ts` gives types to what another file imports.
    for (const file of shipped.filter(({ path }) => !testing(path) && !path.endsWith('.d.ts'))) {
      for (const name of thirdParty(file)) byPackage.set(name, [...(byPackage.get(name) ?? []), file.path])
    }
    expect([...byPackage].filter(([, files]) => files.length > 1)).toEqual([])
    const kit = new Set(shipped.filter(({ path }) => testing(path)).flatMap(thirdParty))
    expect([...kit].filter((name) => name !== 'testcontainers')).toEqual([])
  })

  test('each is in the manifest, and at run time only what users install', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const installed = Object.keys(manifest.dependencies)
    const used = shipped.filter(({ path }) => !testing(path)).flatMap(thirdParty)
    expect(used.filter((name) => !installed.includes(name))).toEqual([])
  })
})

/** A lower number is a lower layer; checkpoint and dataflow stand side by side. */
const layers: Readonly<Record<string, number>> = {
  base: 0,
  state: 1,
  dataflow: 2,
  checkpoint: 2,
  worker: 3,
  plan: 4,
  api: 5,
  cli: 6,
}

/** The layer of a file in src; undefined for the export lists and for observe/, which the order does not name. */
function layerOf(path: string): string | undefined {
  const folder = /^src\/([^/]+)\//.exec(path)?.[1]
  return folder !== undefined && folder in layers ? folder : undefined
}

describe('imports point one way', () => {
  test('src never imports a connector, a pipeline, a test or the checker', () => {
    expect(offenders(engine, (file) => relativeImports(file).some((to) => !to.startsWith('src/')))).toEqual([])
  })

  test('a connector never imports a pipeline, a test or the checker', () => {
    const allowed = /^(src|connectors)\//
    expect(offenders(connectors, (file) => relativeImports(file).some((to) => !allowed.test(to)))).toEqual([])
  })

  test('inside src: cli → api → plan → worker → {checkpoint, dataflow} → state → base, never upwards', () => {
    const upwards = engine.flatMap((file) => {
      const from = layerOf(file.path)
      if (from === undefined) return []
      return relativeImports(file)
        .filter((to) => (layers[layerOf(to) ?? 'base'] ?? 0) > (layers[from] ?? 0))
        .map((to) => `${file.path} → ${to}`)
    })
    expect(upwards).toEqual([])
  })

  test('checkpoint and dataflow never import each other', () => {
    const crossing = engine.filter((file) => {
      const other = { checkpoint: 'dataflow', dataflow: 'checkpoint' }[layerOf(file.path) ?? '']
      return other !== undefined && relativeImports(file).some((to) => layerOf(to) === other)
    })
    expect(crossing.map((file) => file.path)).toEqual([])
  })

  test('every folder of src has its place in the order', () => {
    const folders = new Set(engine.map((file) => /^src\/([^/]+)\//.exec(file.path)?.[1]).filter(Boolean))
    expect([...folders].filter((each) => each !== 'observe' && !(String(each) in layers))).toEqual([])
  })

  test('nothing that runs in production imports the test entry points', () => {
    const production = shipped.filter(({ path }) => !testing(path) && path !== 'src/testing.ts')
    const leads = (to: string): boolean => testing(to) || to === 'src/testing.ts'
    expect(offenders(production, (file) => relativeImports(file).some(leads))).toEqual([])
  })

  test('the checker imports nothing of ours: it is a witness', () => {
    const checker = filesUnder('checker')
    expect(checker.length).toBeGreaterThan(5)
    expect(offenders(checker, (file) => relativeImports(file).some((to) => !to.startsWith('checker/')))).toEqual([])
    expect(offenders(checker, (file) => thirdParty(file).includes('millrace'))).toEqual([])
  })
})
