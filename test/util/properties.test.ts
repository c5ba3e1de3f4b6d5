import { describe, expect, it } from 'vitest';
import { parseProperties } from '../../src/util/properties.ts';

/** What java.util.Properties makes of each text. */
const cases: readonly (readonly [string, string, Record<string, string>])[] = [
  ['the three separators', 'a=1\nb:2\nc 3\nd\t4\n', { a: '1', b: '2', c: '3', d: '4' }],
  ['blanks around a separator', '  a  =  1  \n\tb : 2', { a: '1  ', b: '2' }],
  ['only one separator a line', 'a==1\nb=:2\nc : = 3', { a: '=1', b: ':2', c: '= 3' }],
  ['comments and blank lines', '# a=1\n  ! b=2\n\n   \nc=#3', { c: '#3' }],
  ['continued lines', 'a=1,\\\n   2,\\\n   3\nb=4', { a: '1,2,3', b: '4' }],
  ['a comment that does not continue', '# a \\\nb=1', { b: '1' }],
  ['a continued line that looks like a comment', 'a=1\\\n#2', { a: '1#2' }],
  ['an even number of backslashes', 'a=1\\\\\nb=2', { a: '1\\', b: '2' }],
  ['escapes', 'a\\ b\\=c=1\\t2\\n3\\q\\u00e9', { 'a b=c': '1\t2\n3q\u00e9' }],
  ['keys without values', 'a\nb=\nc:', { a: '', b: '', c: '' }],
  ['all line ends', 'a=1\r\nb=2\rc=3\n', { a: '1', b: '2', c: '3' }],
  ['the last of equal keys', 'a=1\na=2', { a: '2' }],
  ['a byte order mark', '\uFEFFa=1', { a: '1' }],
  ['a file that ends within a continued line', 'a=1\\', { a: '1' }],
  ['nothing', '', {}],
];

describe('parseProperties', () => {
  it.each(cases)('reads %s', (_name, text, wanted) => {
    expect(Object.fromEntries(parseProperties(text))).toEqual(wanted);
  });

  it('refuses a malformed unicode escape', () => {
    expect(() => parseProperties('a=\\u12x4')).toThrow(SyntaxError);
  });
});
