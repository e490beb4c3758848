/** A module whose author forgot the default export. */
export const answer = 42
