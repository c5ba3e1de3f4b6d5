import { describe, expect, it } from 'vitest';
import {
  atLeast,
  type ConfigType,
  define,
  javaDoubleText,
  listOf,
  parseConfig,
} from '../../../src/services/configuration/config-definition.ts';

const parse = (type: ConfigType, text: string | null) =>
  parseConfig(define('a.key', type, null, 'A key.'), text);

describe('reading a value', () => {
  it.each([
    ['BOOLEAN', ' TRUE ', true, 'true'],
    ['INT', ' +007 ', 7, '7'],
    ['INT', '-2147483648', -2147483648, '-2147483648'],
    ['SHORT', '32767', 32767, '32767'],
    ['LONG', '9007199254740991', 9007199254740991, '9007199254740991'],
    ['LONG', '9223372036854775807', Number.POSITIVE_INFINITY, '9223372036854775807'],
    ['LONG', '-9223372036854775808', Number.NEGATIVE_INFINITY, '-9223372036854775808'],
    ['DOUBLE', '1', 1, '1.0'],
    ['DOUBLE', '.5', 0.5, '0.5'],
    ['LIST', ' a , b,c ', ['a', 'b', 'c'], 'a,b,c'],
    ['LIST', '', [], ''],
    ['STRING', ' text ', 'text', 'text'],
    ['PASSWORD', 'secret', 'secret', 'secret'],
  ] as const)('%s %j', (type, text, value, canonical) => {
    expect(parse(type, text)).toEqual({ value, text: canonical });
  });

  it.each([
    ['BOOLEAN', 'yes', 'Expected value to be either true or false'],
    ['INT', '2147483648', 'Not a number of type INT'],
    ['INT', '1.0', 'Not a number of type INT'],
    ['INT', '', 'Not a number of type INT'],
    ['SHORT', '32768', 'Not a number of type SHORT'],
    ['LONG', '9223372036854775808', 'Not a number of type LONG'],
    ['LONG', '0x10', 'Not a number of type LONG'],
    ['DOUBLE', 'a', 'Not a number of type DOUBLE'],
  ] as const)('refuses %s %j', (type, text, fault) => {
    expect(() => parse(type, text)).toThrow(`Invalid value ${text} for configuration a.key: ${fault}`);
  });

  it('does not show a password in a message', () => {
    const definition = define('a.key', 'PASSWORD', null, 'A key.', { valid: () => 'too short' });
    expect(() => parseConfig(definition, 'hunter2')).toThrow(
      'Invalid value [hidden] for configuration a.key: too short',
    );
  });

  it('asks for a value where there are limits', () => {
    const definition = define('a.key', 'INT', 1, 'A key.', { valid: atLeast(0) });
    expect(() => parseConfig(definition, null)).toThrow('Value must be non-null');
  });

  it('names the item of a list that is not allowed', () => {
    const definition = define('a.key', 'LIST', '', 'A key.', { valid: listOf('x', 'y') });
    expect(() => parseConfig(definition, 'x,z')).toThrow(
      'Invalid value z for configuration a.key: String must be one of: x, y',
    );
  });
});

describe('a double in text', () => {
  it.each([
    [0, '0.0'],
    [0.5, '0.5'],
    [-3, '-3.0'],
    [0.001, '0.001'],
    [0.0001, '1.0E-4'],
    [9999999, '9999999.0'],
    [10000000, '1.0E7'],
    [123456789, '1.23456789E8'],
    [Number.MAX_VALUE, '1.7976931348623157E308'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
  ])('%d is %s, as in Java', (value, text) => {
    expect(javaDoubleText(value)).toBe(text);
  });
});
