/**
 * Regular expressions that strangers send, in the part of RE2's syntax that needs no stepping back: a match takes time in the length of
 * the text times that of the pattern, whatever the pattern is. Knows nothing of what is matched.
 *
 * Literals, `.`, classes `[a-z]` and `[^a-z]` with `[:alpha:]` and the like, `\d \D \w \W \s \S \pN \p{Greek} \P`, escapes, `\Q...\E`, groups,
 * named or not, flags `(?ims-ims)` and `(?i:...)`, `|`, `* + ? {n} {n,} {n,m}` (also lazy: it makes no difference to whether something
 * matches), `^ $ \A \z \b \B`. Anything else is invalid, in RE2's words.
 */

/** Steps that a pattern may come to, with its repeats written out. */
export const maxPatternSteps = 10_000;
const maxRepeat = 1000;

type Test = (code: number) => boolean;

/** Holds between two characters, of which there may be only one or none. */
interface Place {
  readonly kind: 'place';
  readonly holds: (before: number | undefined, after: number | undefined) => boolean;
}

type Node =
  | { readonly kind: 'test'; readonly test: Test }
  | Place
  | { readonly kind: 'all'; readonly nodes: readonly Node[] }
  | { readonly kind: 'any'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly least: number; readonly most: number };

type Step =
  | { readonly kind: 'test'; readonly test: Test }
  | Place
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
      else if (kind === 'place' && (steps[step] as Place).holds(codes[position - 1], codes[position])) {
        waiting.push(step + 1);
      }
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
const isLower: Test = (code) => code >= 0x61 && code <= 0x7a;
const isUpper: Test = (code) => code >= 0x41 && code <= 0x5a;
const isAlpha: Test = (code) => isLower(code) || isUpper(code);
const isWord: Test = (code) => isDigit(code) || isAlpha(code) || code === 0x5f;
const isSpace: Test = (code) => code === 0x20 || (code >= 0x09 && code <= 0x0d && code !== 0x0b);
const isGraph: Test = (code) => code > 0x20 && code < 0x7f;
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
const posixClasses: Readonly<Record<string, Test>> = {
  alnum: (code) => isDigit(code) || isAlpha(code),
  alpha: isAlpha,
  ascii: (code) => code < 0x80,
  blank: (code) => code === 0x20 || code === 0x09,
  cntrl: (code) => code < 0x20 || code === 0x7f,
  digit: isDigit,
  graph: isGraph,
  lower: isLower,
  print: (code) => code === 0x20 || isGraph(code),
  punct: (code) => isGraph(code) && !isDigit(code) && !isAlpha(code),
  space: (code) => isSpace(code) || code === 0x0b,
  upper: isUpper,
  word: isWord,
  xdigit: (code) => isDigit(code) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66),
};
const escapes: Readonly<Record<string, number>> = {
  a: 0x07,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  v: 0x0b,
};
const lineEnd = 0x0a;
const maxCode = 0x10ffff;

const isWordAt = (code: number | undefined): boolean => code !== undefined && isWord(code);
const isBoundary: Place['holds'] = (before, after) => isWordAt(before) !== isWordAt(after);
const places = {
  start: (before) => before === undefined,
  end: (_before, after) => after === undefined,
  lineStart: (before) => before === undefined || before === lineEnd,
  lineEnd: (_before, after) => after === undefined || after === lineEnd,
  boundary: isBoundary,
  noBoundary: (before, after) => !isBoundary(before, after),
} as const satisfies Readonly<Record<string, Place['holds']>>;

/** RE2's words. */
const words = {
  missingBracket: 'missing closing ]',
  missingParenthesis: 'missing closing )',
  unexpectedParenthesis: 'unexpected )',
  missingArgument: 'missing argument to repetition operator',
  nestedRepeat: 'invalid nested repetition operator',
  trailingBackslash: 'trailing backslash at end of expression',
  repeatCount: 'invalid repeat count',
  namedCapture: 'invalid named capture',
  perlSyntax: 'invalid or unsupported Perl syntax',
  escape: 'invalid escape sequence',
  range: 'invalid character class range',
} as const;

interface Flags {
  readonly ignoreCase: boolean;
  readonly dotAll: boolean;
  readonly multiLine: boolean;
}

class Parser {
  private readonly text: readonly string[];
  private at = 0;
  private depth = 0;
  private flags: Flags = { ignoreCase: false, dotAll: false, multiLine: false };

  constructor(pattern: string) {
    this.text = [...pattern];
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.text.length) throw new PatternError(words.unexpectedParenthesis);
    return node;
  }

  private alternatives(): Node {
    if (++this.depth > 100) throw new PatternError('expression nests too deeply');
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
      if (next === '\\' && this.text[this.at + 1] === 'Q') {
        this.at += 2;
        const quoted = this.quoted();
        // A repeat behind the quotation is of its last character.
        const last = quoted.pop();
        nodes.push(...quoted);
        if (last !== undefined) nodes.push(this.repeated(last));
        continue;
      }
      const atom = this.atom();
      if (atom !== undefined) nodes.push(this.repeated(atom));
    }
  }

  private quoted(): Node[] {
    const nodes: Node[] = [];
    while (this.at < this.text.length) {
      if (this.text[this.at] === '\\' && this.text[this.at + 1] === 'E') {
        this.at += 2;
        break;
      }
      nodes.push({ kind: 'test', test: this.literal(this.text[this.at++]!.codePointAt(0)!) });
    }
    return nodes;
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
    const isRepeat = next === '*' || next === '+' || next === '?' || this.looksLikeCounts();
    if (isRepeat) throw new PatternError(words.nestedRepeat);
    return { kind: 'repeat', node, least, most };
  }

  private looksLikeCounts(): boolean {
    const end = this.text[this.at] === '{' ? this.text.indexOf('}', this.at) : -1;
    return end >= 0 && countsPattern.test(this.text.slice(this.at + 1, end).join(''));
  }

  /** `{n}`, `{n,}`, `{n,m}`; anything else after a brace is the brace itself. */
  private counts(): [number, number] | undefined {
    if (this.text[this.at] !== '{') return undefined;
    const end = this.text.indexOf('}', this.at);
    const found = end < 0 ? null : countsPattern.exec(this.text.slice(this.at + 1, end).join(''));
    if (found === null) return undefined;
    this.at = end + 1;
    const least = Number(found[1]);
    const most =
      found[2] === undefined ? least : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (least > maxRepeat || (most > maxRepeat && most !== Number.POSITIVE_INFINITY) || most < least) {
      throw new PatternError(words.repeatCount);
    }
    return [least, most];
  }

  /** Undefined for what only sets flags. */
  private atom(): Node | undefined {
    const next = this.text[this.at++]!;
    switch (next) {
      case '(':
        return this.group();
      case '[':
        return { kind: 'test', test: this.characterClass() };
      case '.':
        return { kind: 'test', test: this.flags.dotAll ? () => true : (code) => code !== lineEnd };
      case '^':
        return place(this.flags.multiLine ? 'lineStart' : 'start');
      case '$':
        return place(this.flags.multiLine ? 'lineEnd' : 'end');
      case '*':
      case '+':
      case '?':
        throw new PatternError(words.missingArgument);
      case '\\':
        return this.escape();
      default:
        return { kind: 'test', test: this.literal(next.codePointAt(0)!) };
    }
  }

  private group(): Node | undefined {
    const outer = this.flags;
    if (this.take('?') && this.text[this.at] !== ':') {
      if (this.text[this.at] === 'P' || this.text[this.at] === '<') this.name();
      else if (!this.changeFlags()) return undefined;
    } else {
      this.take(':');
    }
    const node = this.alternatives();
    if (!this.take(')')) throw new PatternError(words.missingParenthesis);
    this.flags = outer;
    return node;
  }

  private name(): void {
    const isLookBehind =
      this.text[this.at] === '<' && (this.text[this.at + 1] === '=' || this.text[this.at + 1] === '!');
    if (isLookBehind) throw new PatternError(words.perlSyntax);
    this.take('P');
    if (!this.take('<')) throw new PatternError(words.namedCapture);
    const end = this.text.indexOf('>', this.at);
    const name = end < 0 ? '' : this.text.slice(this.at, end).join('');
    if (!/^\w+$/.test(name)) throw new PatternError(words.namedCapture);
    this.at = end + 1;
  }

  /** True where a group follows; false where the flags are for what is left of the group around. */
  private changeFlags(): boolean {
    let { ignoreCase, dotAll, multiLine } = this.flags;
    let value = true;
    for (;;) {
      const next = this.text[this.at++];
      if (next === 'i') ignoreCase = value;
      else if (next === 's') dotAll = value;
      else if (next === 'm') multiLine = value;
      else if (next === '-' && value) value = false;
      else if (next === ':' || next === ')') {
        this.flags = { ignoreCase, dotAll, multiLine };
        return next === ':';
      } else if (next !== 'U') throw new PatternError(words.perlSyntax);
    }
  }

  private literal(expected: number): Test {
    if (!this.flags.ignoreCase) return (code) => code === expected;
    const folded = fold(expected);
    return (code) => fold(code) === folded;
  }

  private escape(): Node {
    const next = this.text[this.at];
    switch (next) {
      case undefined:
        throw new PatternError(words.trailingBackslash);
      case 'A':
        this.at++;
        return place('start');
      case 'z':
        this.at++;
        return place('end');
      case 'b':
        this.at++;
        return place('boundary');
      case 'B':
        this.at++;
        return place('noBoundary');
      default:
        return { kind: 'test', test: this.escapedClass() ?? this.literal(this.escaped()) };
    }
  }

  /** A class behind a backslash, in brackets or not. */
  private escapedClass(): Test | undefined {
    const next = this.text[this.at];
    if (next === undefined) return undefined;
    const known = classes[next];
    if (known !== undefined) {
      this.at++;
      return known;
    }
    if (next !== 'p' && next !== 'P') return undefined;
    this.at++;
    const isNegated = next === 'P';
    let name = this.text[this.at++] ?? '';
    if (name === '{') {
      const end = this.text.indexOf('}', this.at);
      if (end < 0) throw new PatternError(words.range);
      name = this.text.slice(this.at, end).join('');
      this.at = end + 1;
    }
    const test = unicodeClass(name.startsWith('^') ? name.slice(1) : name);
    return isNegated !== name.startsWith('^') ? not(test) : test;
  }

  /** The character behind a backslash. */
  private escaped(): number {
    const next = this.text[this.at++];
    if (next === undefined) throw new PatternError(words.trailingBackslash);
    const code = escapes[next];
    if (code !== undefined) return code;
    if (next === 'x') return this.hexadecimal();
    if (next >= '0' && next <= '7') return this.octal(next);
    if (isWord(next.codePointAt(0)!)) throw new PatternError(words.escape);
    return next.codePointAt(0)!;
  }

  private hexadecimal(): number {
    let digits: string;
    if (this.take('{')) {
      const end = this.text.indexOf('}', this.at);
      digits = end < 0 ? '' : this.text.slice(this.at, end).join('');
      this.at = end + 1;
    } else {
      digits = this.text.slice(this.at, this.at + 2).join('');
      this.at += 2;
      if (digits.length !== 2) throw new PatternError(words.escape);
    }
    const code = /^[0-9a-fA-F]{1,6}$/.test(digits) ? Number.parseInt(digits, 16) : maxCode + 1;
    if (code > maxCode) throw new PatternError(words.escape);
    return code;
  }

  /** A single digit that is not 0 would be a back reference. */
  private octal(first: string): number {
    let digits = first;
    while (digits.length < 3 && /^[0-7]$/.test(this.text[this.at] ?? '')) digits += this.text[this.at++]!;
    if (first !== '0' && digits.length === 1) throw new PatternError(words.escape);
    return Number.parseInt(digits, 8);
  }

  private characterClass(): Test {
    const isNegated = this.take('^');
    const tests: Test[] = [];
    for (let isFirst = true; ; isFirst = false) {
      const next = this.text[this.at];
      if (next === undefined) throw new PatternError(words.missingBracket);
      if (next === ']' && !isFirst) {
        this.at++;
        break;
      }
      const known = this.posixClass() ?? (next === '\\' ? this.classInBrackets() : undefined);
      if (known !== undefined) {
        tests.push(known);
        continue;
      }
      const low = this.bound();
      if (
        this.text[this.at] === '-' &&
        this.text[this.at + 1] !== ']' &&
        this.text[this.at + 1] !== undefined
      ) {
        this.at++;
        const high = this.bound();
        if (high < low) throw new PatternError(words.range);
        tests.push(this.range(low, high));
      } else {
        tests.push(this.literal(low));
      }
    }
    const test: Test = (code) => tests.some((one) => one(code));
    return isNegated ? not(test) : test;
  }

  private range(low: number, high: number): Test {
    const within: Test = (code) => code >= low && code <= high;
    if (!this.flags.ignoreCase) return within;
    return (code) => within(code) || within(lower(code)) || within(upper(code));
  }

  private classInBrackets(): Test | undefined {
    this.at++;
    const test = this.escapedClass();
    if (test === undefined) this.at--;
    return test;
  }

  /** One end of a range, or a character alone. */
  private bound(): number {
    const next = this.text[this.at++];
    if (next === undefined) throw new PatternError(words.missingBracket);
    return next === '\\' ? this.escaped() : next.codePointAt(0)!;
  }

  private posixClass(): Test | undefined {
    if (this.text[this.at] !== '[' || this.text[this.at + 1] !== ':') return undefined;
    const rest = this.text.slice(this.at, this.at + 12).join('');
    const found = /^\[:(\^?)([a-z]+):\]/.exec(rest);
    if (found === null) return undefined;
    const test = posixClasses[found[2]!];
    if (test === undefined) throw new PatternError(words.range);
    this.at += found[0].length;
    return found[1] === '^' ? not(test) : test;
  }

  private take(character: string): boolean {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }
}

const countsPattern = /^(\d+)(,(\d*))?$/;

function place(name: keyof typeof places): Place {
  return { kind: 'place', holds: places[name] };
}

function lower(code: number): number {
  return String.fromCodePoint(code).toLowerCase().codePointAt(0)!;
}

function upper(code: number): number {
  return String.fromCodePoint(code).toUpperCase().codePointAt(0)!;
}

function fold(code: number): number {
  return lower(upper(code));
}

/** A general category, or a script. One character at a time: this costs the same whatever the text is. */
function unicodeClass(name: string): Test {
  if (name === 'Any') return () => true;
  for (const property of [`General_Category=${name}`, `Script=${name}`]) {
    try {
      const pattern = new RegExp(`^\\p{${property}}$`, 'u');
      return (code) => pattern.test(String.fromCodePoint(code));
    } catch {
      // Not this kind of name.
    }
  }
  throw new PatternError(words.range);
}
