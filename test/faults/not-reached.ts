/** File calls of the engine that no single fault on the way leads to, each with its reason. */
export const notReached: ReadonlyMap<string, string> = new Map([]);
