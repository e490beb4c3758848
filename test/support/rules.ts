// What a sequence of rules comes to, so that one that is missing, doubled or in another place shows.
/** Of all rules so far, in their order. */
export function hashOf(before: number, rule: string): number {
  return [...rule].reduce((hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0, before)
}
