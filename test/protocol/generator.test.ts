import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { definitionFileName, kebabCase } from '../../protocol/generator/definition.ts';
import { generateFiles, readDefinitions } from '../../protocol/generator/generate.ts';
import { DefinitionError, formatDefinitions, parseDefinitions } from '../../protocol/generator/notation.ts';

const messagesDirectory = 'protocol/messages';
const generatedDirectory = 'protocol/generated';

describe('generated code', () => {
  it('is the same every time, and what is on disk', () => {
    const once = generateFiles(messagesDirectory);
    expect(generateFiles(messagesDirectory)).toEqual(once);
    const onDisk = readdirSync(generatedDirectory).filter((name) => name.endsWith('.ts'));
    expect(onDisk.sort()).toEqual([...once.keys()].sort());
    for (const [name, text] of once) {
      expect(readFileSync(join(generatedDirectory, name), 'utf8') === text, name).toBe(true);
    }
  });

  it('says nothing of the machine', () => {
    for (const text of generateFiles(messagesDirectory).values()) {
      expect(text).not.toContain(process.cwd());
    }
  });
});

describe('definition files', () => {
  const files = readDefinitions(messagesDirectory);

  it('are written in the one form that the notation has', () => {
    for (const file of files) {
      const name = `${definitionFileName(file)}.msg`;
      const text = readFileSync(join(messagesDirectory, name), 'utf8').replace(/^#.*\n/gm, '');
      expect(formatDefinitions(file), name).toBe(text);
      expect(parseDefinitions(formatDefinitions(file), name)).toEqual(file);
    }
  });

  it('hold the client-facing APIs', () => {
    expect(files.filter((file) => file.apiName !== undefined)).toHaveLength(74);
    expect(kebabCase('DescribeUserScramCredentials')).toBe('describe-user-scram-credentials');
    expect(kebabCase('KRaftVersionRecord')).toBe('k-raft-version-record');
  });
});

describe('the notation', () => {
  const sample = `# A comment.
api 99 Sample

request 0-4 flexible 3+ unstable 4+
  name    string?1+  0+     = null
  limit   int64      2+     tag 3@3+ = -1 ignorable
  topics  []Topic    0-3
    id     uuid    0+
    parts  []Part  0+
  client  string     0+     = "a b" inflexible
  struct Part 0+
    index  int32  0+

response 0-4 flexible 3+
  errorCode  int16  0+
`;

  it('says what it says', () => {
    const { apiName, messages } = parseDefinitions(sample, 'sample.msg');
    expect(apiName).toBe('Sample');
    expect(messages.map((message) => message.name)).toEqual(['SampleRequest', 'SampleResponse']);
    const [request] = messages;
    expect(request).toMatchObject({
      key: 99,
      unstableFrom: 4,
      versions: { from: 0, to: 4 },
      flexible: { from: 3, to: 32767 },
    });
    const [name, limit, topics, client] = request!.fields;
    expect(name).toMatchObject({ default: null, nullable: { from: 1, to: 32767 }, isArray: false });
    expect(limit).toMatchObject({ tag: 3, tagged: { from: 3, to: 32767 }, default: '-1', ignorable: true });
    expect(topics).toMatchObject({ isArray: true, type: 'Topic', versions: { from: 0, to: 3 } });
    expect(topics!.fields!.map((field) => field.name)).toEqual(['id', 'parts']);
    expect(client).toMatchObject({ default: 'a b', neverFlexible: true });
    expect(request!.commonStructs.map((struct) => struct.name)).toEqual(['Part']);
  });

  it.each([
    ['an unknown type', 'client  string', 'client  strung', /type strung is not known/],
    ['a range backwards', '0-3\n', '3-0\n', /empty version range/],
    ['a field twice', '  client ', '  name   ', /name twice/],
    ['a word it does not know', 'inflexible', 'stiff', /'stiff' is not known/],
    ['a tag where nothing is flexible', 'tag 3@3+', 'tag 3@2+', /not flexible/],
    ['null that is not allowed', 'string?1+', 'string   ', /null is no default/],
    ['odd indentation', '\n    id ', '\n   id ', /odd indentation/],
    ['a field too deep', '\n    parts', '\n        parts', /indented/],
  ])('refuses %s, with the place', (_what, from, to, message) => {
    const text = sample.replace(from, to);
    expect(text).not.toBe(sample);
    expect(() => parseDefinitions(text, 'sample.msg')).toThrow(DefinitionError);
    expect(() => parseDefinitions(text, 'sample.msg')).toThrow(message);
    expect(() => parseDefinitions(text, 'sample.msg')).toThrow(/sample\.msg:\d+/);
  });
});
