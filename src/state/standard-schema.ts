// What zod, valibot, arktype and others have in common (standardschema.dev, version 1), as far as it is used here: no dependency.

/** A schema of any library that follows the standard. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    /** Never set: carries the types. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema makes of a value. */
export type SchemaOutput<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output']

const ISSUES_MAX = 5

/** @throws TypeError with the first issues and where they are */
export function validated<Output>(schema: StandardSchema<unknown, Output>, value: unknown): Output {
  const standard = schema['~standard']
  const result = standard.validate(value)
  if ('then' in result) {
    // It is not waited for: nobody is to hear of its failure.
    result.then(undefined, () => undefined)
    throw new TypeError(`the schema (${standard.vendor}) is asynchronous; a serde needs one that answers at once`)
  }
  if (result.issues === undefined) return result.value
  const said = result.issues.slice(0, ISSUES_MAX).map(({ message, path }) => `${pathText(path)}${message}`)
  const more = result.issues.length > ISSUES_MAX ? `; and ${result.issues.length - ISSUES_MAX} more` : ''
  throw new TypeError(`${said.join('; ')}${more}`)
}

function pathText(path: SchemaIssue['path']): string {
  if (!path || path.length === 0) return ''
  return `${path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')}: `
}
