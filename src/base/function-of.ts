/**
 * A function that is made of code: `body` is what a function of the parameters does to give it. `slow` does the same, for a Node that was
 * told to make no code from texts.
 */
export function functionOf<F>(parameters: Readonly<Record<string, unknown>>, body: string, slow: F): F {
  try {
    return new Function(...Object.keys(parameters), body)(...Object.values(parameters)) as F
  } catch (error) {
    if (error instanceof EvalError) return slow
    throw error
  }
}
