// AssemblyScript: what src/state/json-module.ts exports, which `npm run wasm` makes of these sources.
export { scan } from './json-scan'
export { read } from './json-shape'
