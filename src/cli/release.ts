// Which release of Millrace this is.
import { readFileSync } from 'node:fs'

/** The version of the package: its file is two levels above the sources, and three above what was built of them. */
export function release(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string }).version
    } catch {
      // It is the other one.
    }
  }
  return 'unknown'
}
