/**
 * Regular expressions that strangers send, in the part of RE2's syntax that needs no stepping back: a match takes time in the length of
 * the text times that of the pattern, whatever the pattern is. Knows nothing of what is matched.
 *
 * Literals, `.`, classes `[a-z]` and `[^a-z]`, `\d \D \w \W \s \S`, escapes, groups, `|`, `* + ? {n} {n,} {n,m}` (also lazy: it makes no
 * difference to whether something matches), `^` and `$`. Anything else is invalid.
 */

/** Steps that a pattern may come to, with its repeats written out. */
export const maxPatternSteps = 10_000;
const maxRepeat = 1000;

type Test = (code: number) => boolean;

type Node =
  | { readonly kind: 'test'; readonly test: Test }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'all'; readonly nodes: readonly Node[] }
  | { readonly kind: 'any'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly least: number; readonly most: number };

type Step =
  | { readonly kind: 'test'; readonly test: Test }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'split'; readonly to: number[] }
  | { readonly kind: 'match' };

class PatternError extends Error {}

/** Whether a text matches as a whole; `invalid` where the pattern is not understood or too large. */
export function linearPattern(pattern: string): ((text: string) => boolean) | 'invalid' {
  const compiled = compileLinearPattern(pattern);
  return 'fault' in compiled ? 'invalid' : compiled.matches;
}

export interface LinearPattern {
  /** Whether a text matches as a whole. Takes at most `steps` times the text's length. */
  readonly matches: (text: string) => boolean;
  readonly steps: number;
}

/** The pattern, or what is wrong with it, in RE2's words where RE2 has some for it. */
export function compileLinearPattern(
  pattern: string,
  maxSteps = maxPatternSteps,
): LinearPattern | { readonly fault: string } {
  try {
    const parser = new Parser(pattern);
    const steps: Step[] = [];
    emit(parser.parse(), steps, maxSteps);
    add(steps, { kind: 'match' }, maxSteps);
    return { matches: (text) => matches(steps, text), steps: steps.length };
  } catch (error) {
    if (error instanceof PatternError) return { fault: error.message };
    throw error;
  }
}

function matches(steps: readonly Step[], text: string): boolean {
  const codes = [...text].map((character) => character.codePointAt(0)!);
  let present = new Set<number>();
  const enter = (into: Set<number>, at: number, position: number): void => {
    const waiting = [at];
    while (waiting.length > 0) {
      const step = waiting.pop()!;
      if (into.has(step)) continue;
      into.add(step);
      const { kind } = steps[step]!;
      if (kind === 'split') waiting.push(...(steps[step] as { to: number[] }).to);
      else if ((kind === 'start' && position === 0) || (kind === 'end' && position === codes.length))
        waiting.push(step + 1);
    }
  };
  enter(present, 0, 0);
  for (let position = 0; position < codes.length; position++) {
    const next = new Set<number>();
    for (const at of present) {
      const step = steps[at]!;
      if (step.kind === 'test' && step.test(codes[position]!)) enter(next, at + 1, position + 1);
    }
    if (next.size === 0) return false;
    present = next;
  }
  return [...present].some((at) => steps[at]!.kind === 'match');
}

function add(steps: Step[], step: Step, maxSteps: number): number {
  if (steps.length >= maxSteps) throw new PatternError('expression too large');
  return steps.push(step) - 1;
}

function emit(node: Node, steps: Step[], maxSteps: number): void {
  switch (node.kind) {
    case 'all':
      for (const one of node.nodes) emit(one, steps, maxSteps);
      return;
    case 'any': {
      const ends: number[][] = [];
      for (const [at, one] of node.nodes.entries()) {
        if (at === node.nodes.length - 1) {
          emit(one, steps, maxSteps);
          break;
        }
        const fork: number[] = [steps.length + 1];
        add(steps, { kind: 'split', to: fork }, maxSteps);
        emit(one, steps, maxSteps);
        const end: number[] = [];
        add(steps, { kind: 'split', to: end }, maxSteps);
        ends.push(end);
        fork.push(steps.length);
      }
      for (const end of ends) end.push(steps.length);
      return;
    }
    case 'repeat': {
      for (let count = 0; count < node.least; count++) emit(node.node, steps, maxSteps);
      if (node.most === Number.POSITIVE_INFINITY) {
        const fork: number[] = [steps.length + 1];
        const at = add(steps, { kind: 'split', to: fork }, maxSteps);
        emit(node.node, steps, maxSteps);
        add(steps, { kind: 'split', to: [at] }, maxSteps);
        fork.push(steps.length);
        return;
      }
      const skips: number[][] = [];
      for (let count = node.least; count < node.most; count++) {
        const fork: number[] = [steps.length + 1];
        add(steps, { kind: 'split', to: fork }, maxSteps);
        skips.push(fork);
        emit(node.node, steps, maxSteps);
      }
      for (const skip of skips) skip.push(steps.length);
      return;
    }
    default:
      add(steps, node, maxSteps);
  }
}

const isDigit: Test = (code) => code >= 0x30 && code <= 0x39;
const isWord: Test = (code) =>
  isDigit(code) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f;
const isSpace: Test = (code) => code === 0x20 || (code >= 0x09 && code <= 0x0d && code !== 0x0b);
const not =
  (test: Test): Test =>
  (code) =>
    !test(code);
const classes: Readonly<Record<string, Test>> = {
  d: isDigit,
  D: not(isDigit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
};
const escapes: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c };
const lineEnd = 0x0a;

class Parser {
  private readonly text: readonly string[];
  private at = 0;
  private depth = 0;

  constructor(pattern: string) {
    this.text = [...pattern];
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.text.length) throw new PatternError('an unopened group');
    return node;
  }

  private alternatives(): Node {
    if (++this.depth > 100) throw new PatternError('too deep');
    const nodes: Node[] = [this.sequence()];
    while (this.take('|')) nodes.push(this.sequence());
    this.depth--;
    return nodes.length === 1 ? nodes[0]! : { kind: 'any', nodes };
  }

  private sequence(): Node {
    const nodes: Node[] = [];
    for (;;) {
      const next = this.text[this.at];
      if (next === undefined || next === '|' || next === ')') return { kind: 'all', nodes };
      nodes.push(this.repeated(this.atom()));
    }
  }

  private repeated(node: Node): Node {
    let least: number;
    let most: number;
    if (this.take('*')) [least, most] = [0, Number.POSITIVE_INFINITY];
    else if (this.take('+')) [least, most] = [1, Number.POSITIVE_INFINITY];
    else if (this.take('?')) [least, most] = [0, 1];
    else {
      const counts = this.counts();
      if (counts === undefined) return node;
      [least, most] = counts;
    }
    this.take('?');
    const next = this.text[this.at];
    if (next === '*' || next === '+' || next === '?') throw new PatternError('a repeat of a repeat');
    return { kind: 'repeat', node, least, most };
  }

  /** `{n}`, `{n,}`, `{n,m}`; anything else after a brace is the brace itself. */
  private counts(): [number, number] | undefined {
    if (this.text[this.at] !== '{') return undefined;
    const end = this.text.indexOf('}', this.at);
    const found = end < 0 ? null : /^(\d+)(,(\d*))?$/.exec(this.text.slice(this.at + 1, end).join(''));
    if (found === null) return undefined;
    this.at = end + 1;
    const least = Number(found[1]);
    const most =
      found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (least > maxRepeat || (most > maxRepeat && most !== Number.POSITIVE_INFINITY) || most < least) {
      throw new PatternError('a repeat that is too large');
    }
    return [least, most];
  }

  private atom(): Node {
    const next = this.text[this.at++]!;
    switch (next) {
      case '(': {
        if (this.take('?') && !this.take(':')) throw new PatternError('an unknown group');
        const node = this.alternatives();
        if (!this.take(')')) throw new PatternError('an unclosed group');
        return node;
      }
      case '[':
        return { kind: 'test', test: this.characterClass() };
      case '.':
        return { kind: 'test', test: (code) => code !== lineEnd };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '*':
      case '+':
      case '?':
        throw new PatternError('a repeat of nothing');
      case '\\':
        return { kind: 'test', test: this.escape() };
      default:
        return { kind: 'test', test: equal(next.codePointAt(0)!) };
    }
  }

  private escape(): Test {
    const next = this.text[this.at++];
    if (next === undefined) throw new PatternError('nothing after a backslash');
    const known = classes[next];
    if (known !== undefined) return known;
    return equal(this.escaped(next));
  }

  private escaped(character: string): number {
    const code = escapes[character];
    if (code !== undefined) return code;
    if (isWord(character.codePointAt(0)!)) throw new PatternError('an unknown escape');
    return character.codePointAt(0)!;
  }

  private characterClass(): Test {
    const isNegated = this.take('^');
    const tests: Test[] = [];
    for (let isFirst = true; ; isFirst = false) {
      const next = this.text[this.at++];
      if (next === undefined) throw new PatternError('an unclosed class');
      if (next === ']' && !isFirst) break;
      if (next === '\\' && classes[this.text[this.at] ?? ''] !== undefined) {
        tests.push(classes[this.text[this.at++]!]!);
        continue;
      }
      const low = next === '\\' ? this.escaped(this.text[this.at++] ?? 'x') : next.codePointAt(0)!;
      if (
        this.text[this.at] === '-' &&
        this.text[this.at + 1] !== ']' &&
        this.text[this.at + 1] !== undefined
      ) {
        this.at++;
        const last = this.text[this.at++]!;
        const high = last === '\\' ? this.escaped(this.text[this.at++] ?? 'x') : last.codePointAt(0)!;
        if (high < low) throw new PatternError('a range that ends before it begins');
        tests.push((code) => code >= low && code <= high);
      } else {
        tests.push(equal(low));
      }
    }
    const test: Test = (code) => tests.some((one) => one(code));
    return isNegated ? not(test) : test;
  }

  private take(character: string): boolean {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }
}

function equal(expected: number): Test {
  return (code) => code === expected;
}
