/**
 * Which topics regular expressions stand for: each expression against each name, as a whole. The work is done piece by piece, since
 * strangers send the expressions and there may be many topics; no piece is longer than its budget and one name.
 */
import { compileLinearPattern } from '../../../util/linear-pattern.ts';

/** Steps of a pattern that an expression of a group may come to. A name costs at most this times its length. */
export const maxRegexSteps = 1000;
/** Steps times characters in one piece of work: some milliseconds. */
const pieceBudget = 200_000;

/** Why the expression is none, in RE2's words where it has some; undefined where it is one. */
export function regexFault(regex: string): string | undefined {
  const compiled = compileLinearPattern(regex, maxRegexSteps);
  return 'fault' in compiled ? compiled.fault : undefined;
}

export class RegexLookup {
  readonly result: ReadonlyMap<string, Set<string>>;
  readonly #patterns: readonly {
    readonly matches: (text: string) => boolean;
    readonly steps: number;
    readonly topics: Set<string>;
  }[];
  readonly #names: readonly string[];
  #next = 0;

  /** An expression that is none stands for no topic. */
  constructor(regexes: readonly string[], names: readonly string[]) {
    this.result = new Map(regexes.map((regex) => [regex, new Set<string>()]));
    this.#patterns = regexes.flatMap((regex) => {
      const compiled = compileLinearPattern(regex, maxRegexSteps);
      return 'fault' in compiled ? [] : [{ ...compiled, topics: this.result.get(regex)! }];
    });
    this.#names = names;
  }

  /** Does another piece. True when all is done. */
  advance(): boolean {
    let budget = pieceBudget;
    while (this.#next < this.#names.length && budget > 0) {
      const name = this.#names[this.#next++]!;
      for (const { matches, steps, topics } of this.#patterns) {
        if (matches(name)) topics.add(name);
        budget -= steps * name.length;
      }
    }
    return this.#next >= this.#names.length;
  }
}
