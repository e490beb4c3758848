import { stripTypeScriptTypes } from 'node:module'

/** The whole transformer: Node's own type stripping keeps line numbers exact. */
export default { process: (source) => ({ code: stripTypeScriptTypes(source) }) }
