// The whole tool of the type tests: `type(…).is<Wanted>()` compiles only if the types are the same, not merely assignable.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** True for equal types, false for others. */
export type Equal<A, B> = Same<A, B> extends true ? true : false

interface Typed<A> {
  /** Compiles only if the types are equal. */
  is<B>(this: Equal<A, B> extends true ? Typed<A> : never): void
}

/** Never called: these files are only compiled. */
export declare function type<A>(value: A): Typed<A>

/** A value out of nothing. */
export declare function some<T>(): T
