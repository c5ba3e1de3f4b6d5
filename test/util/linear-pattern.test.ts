import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileLinearPattern, linearPattern } from '../../src/util/linear-pattern.ts';

function matches(pattern: string, text: string): boolean {
  const compiled = linearPattern(pattern);
  if (compiled === 'invalid') throw new Error(`${pattern} is invalid`);
  return compiled(text);
}

describe('a pattern', () => {
  it.each([
    ['abc', 'abc', true],
    ['abc', 'abcd', false],
    ['a.c', 'axc', true],
    ['a.c', 'a\nc', false],
    ['my-.*', 'my-transaction', true],
    ['my-.+', 'my-', false],
    ['(ab|cd)*e', 'ababcde', true],
    ['(?:ab|cd){2}', 'abcd', true],
    ['(?:ab|cd){2}', 'ab', false],
    ['a{2,3}', 'aaaa', false],
    ['a{2,}', 'aaaa', true],
    ['[a-c]+[^a-c]', 'abcx', true],
    ['[]x]', ']', true],
    ['\\d+\\.\\w', '12.x', true],
    ['[\\d.]+', '1.2', true],
    ['^a$', 'a', true],
    ['a|', '', true],
    ['x{', 'x{', true],
    ['ä.', 'ä😀', true],
    ['(?i)OrDers-[a-c]', 'oRDERS-B', true],
    ['(?i:ab)c', 'ABC', false],
    ['((?i)a)b', 'AB', false],
    ['(?s).', '\n', true],
    ['(?P<first>a)(?<second>b)', 'ab', true],
    ['\\Qa.b\\E+', 'a.bbb', true],
    ['\\Qa.b\\E', 'axb', false],
    ['\\x41\\x{42}\\103', 'ABC', true],
    ['\\pL+\\p{Nd}', 'äz5', true],
    ['[\\p{Greek}]', 'λ', true],
    ['\\P{Lu}', 'A', false],
    ['[[:alpha:]-]+', 'ab-c', true],
    ['[[:^digit:]]', '5', false],
    ['\\bab\\b-\\Bx', 'ab-x', false],
    ['\\bab\\b-x', 'ab-x', true],
    ['\\Aab\\z', 'ab', true],
  ])('%s on %j: %s', (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected);
  });

  it.each(['(', ')', '[a', '*', 'a**', '(?=a)', '\\1', '\\', 'a{1001}', '(a{1000}){1000}', '[b-a]'])(
    '%s is invalid',
    (pattern) => {
      expect(linearPattern(pattern)).toBe('invalid');
    },
  );

  it.each([
    ['(', 'missing closing )'],
    ['[a', 'missing closing ]'],
    ['a**', 'invalid nested repetition operator'],
    ['*', 'missing argument to repetition operator'],
    ['\\', 'trailing backslash at end of expression'],
    ['a{2,1}', 'invalid repeat count'],
    ['(?P<n', 'invalid named capture'],
    ['x(?=y)', 'invalid or unsupported Perl syntax'],
    ['(?<!y)', 'invalid or unsupported Perl syntax'],
    ['\\y', 'invalid escape sequence'],
    ['[b-a]', 'invalid character class range'],
    ['\\p{Nothing}', 'invalid character class range'],
  ])('%s is refused in the words of RE2', (pattern, fault) => {
    expect(compileLinearPattern(pattern)).toEqual({ fault });
  });

  it('has no more steps than it may', () => {
    expect(compileLinearPattern('a{100}', 50)).toHaveProperty('fault');
    expect(compileLinearPattern('a{100}', 200)).toHaveProperty('steps', 101);
  });

  it('takes no longer than its length and that of the text', () => {
    expect(matches('(a*)*b', 'a'.repeat(5000))).toBe(false);
    expect(matches('(a|aa)+c', 'a'.repeat(5000))).toBe(false);
  });

  it('matches what JavaScript matches', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      '.',
      '[ab]',
      '[^a]',
      '\\d',
      '(a|b)',
      '(?:ab)?',
      'a*',
      'b+',
      'a{1,2}',
      '|',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), fc.stringMatching(/^[ab1]{0,8}$/), (pieces, text) => {
        const pattern = pieces.join('');
        expect(matches(pattern, text)).toBe(new RegExp(`^(?:${pattern})$`, 'u').test(text));
      }),
      { numRuns: 500 },
    );
  });
});
