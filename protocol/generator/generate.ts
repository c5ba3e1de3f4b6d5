// Makes protocol/generated/ out of protocol/messages/: one TypeScript file a definition file, and the tables of them all.
// The same definitions give the same bytes: nothing here may depend on time, order of a directory or machine.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DefinitionFile, definitionFileName, lowerFirst, type MessageDefinition } from './definition.ts';
import { MessageEmitter } from './emit-message.ts';
import { DefinitionError, parseDefinitions } from './notation.ts';

const NEVER_FLEXIBLE = 32767;
const NOTICE = '// Generated from protocol/messages/ by protocol/generator/; do not edit.';

/** What generated code may import: name to module; `type` marks types. */
const importable: readonly { readonly name: string; readonly from: string; readonly type?: true }[] = [
  { name: 'MessageCodec', from: '../message-codec.ts', type: true },
  { name: 'ByteReader', from: '../wire/byte-reader.ts', type: true },
  { name: 'ByteWriter', from: '../wire/byte-writer.ts', type: true },
  { name: 'compactBytesSize', from: '../wire/byte-writer.ts' },
  { name: 'compactStringSize', from: '../wire/byte-writer.ts' },
  { name: 'recordsSize', from: '../wire/byte-writer.ts' },
  { name: 'referencedSize', from: '../wire/byte-writer.ts' },
  { name: 'stringSize', from: '../wire/byte-writer.ts' },
  { name: 'Int64', from: '../wire/int64.ts', type: true },
  { name: 'ABSENT', from: '../wire/support.ts' },
  { name: 'EMPTY_ARRAY', from: '../wire/support.ts' },
  { name: 'EMPTY_BYTES', from: '../wire/support.ts' },
  { name: 'checkVersion', from: '../wire/support.ts' },
  { name: 'Uuid', from: '../wire/uuid.ts', type: true },
  { name: 'ZERO_UUID', from: '../wire/uuid.ts' },
  { name: 'sizeOfUnsignedVarint', from: '../wire/varint.ts' },
];

function importsFor(code: string): string {
  const byModule = new Map<string, string[]>();
  for (const { name, from, type } of importable) {
    if (!new RegExp(`\\b${name}\\b`).test(code)) continue;
    const names = byModule.get(from) ?? [];
    names.push(type ? `type ${name}` : name);
    byModule.set(from, names);
  }
  return [...byModule].map(([from, names]) => `import { ${names.join(', ')} } from '${from}';`).join('\n');
}

/** Reads every definition file of a folder, in the order of their names. */
export function readDefinitions(messagesDirectory: string): DefinitionFile[] {
  const names = readdirSync(messagesDirectory)
    .filter((name) => name.endsWith('.msg'))
    .sort();
  const files = names.map((name) => {
    const file = parseDefinitions(readFileSync(join(messagesDirectory, name), 'utf8'), name);
    if (`${definitionFileName(file)}.msg` !== name) {
      throw new DefinitionError(`${name} must be called ${definitionFileName(file)}.msg`);
    }
    return file;
  });
  for (const file of files) if (file.apiName !== undefined) checkApi(file);
  return files;
}

function checkApi(file: DefinitionFile): void {
  const [request, response] = file.messages;
  if (request?.kind !== 'request' || response?.kind !== 'response' || file.messages.length !== 2) {
    throw new DefinitionError(`${file.apiName}: an API has one request and one response`);
  }
  if (request.versions.from !== response.versions.from || request.versions.to !== response.versions.to) {
    throw new DefinitionError(`${file.apiName}: request and response have different versions`);
  }
}

function emitFile(file: DefinitionFile): string {
  const code = file.messages.map((message) => new MessageEmitter(message).emit()).join('\n');
  return `${NOTICE}\n${importsFor(code)}\n\n${code}`;
}

function emitApis(files: readonly DefinitionFile[]): string {
  const apis = files
    .filter((file) => file.apiName !== undefined)
    .sort((a, b) => a.messages[0]!.key - b.messages[0]!.key);
  const imports = apis.map((file) => {
    const [request, response] = file.messages.map((message) => lowerFirst(message.name));
    return `import { ${request}, ${response} } from './${definitionFileName(file)}.ts';`;
  });
  const rows = apis.map((file) => {
    const [request, response] = file.messages as [MessageDefinition, MessageDefinition];
    const { from, to } = request.versions;
    const stableTo = request.unstableFrom === undefined ? to : request.unstableFrom - 1;
    return `  {
    apiKey: ${request.key},
    name: '${file.apiName}',
    request: ${lowerFirst(request.name)},
    response: ${lowerFirst(response.name)},
    minVersion: ${from},
    maxVersion: ${stableTo},
    maxUnstableVersion: ${to},
    flexibleFrom: ${request.flexible?.from ?? NEVER_FLEXIBLE},
  },`;
  });
  return `${NOTICE}
import type { ApiDefinition } from '../api-definition.ts';
${imports.join('\n')}

/** Every API the codec knows, by key. */
export const apis: readonly ApiDefinition[] = [
${rows.join('\n')}
];

const byKey: (ApiDefinition | undefined)[] = [];
for (const api of apis) byKey[api.apiKey] = api;

/** The API of a key, or undefined. */
export function apiByKey(apiKey: number): ApiDefinition | undefined {
  return byKey[apiKey];
}
`;
}

/** Every codec and definition by message name: for tools and tests, which walk definitions; the broker never does. */
function emitMessages(files: readonly DefinitionFile[]): string {
  const imports = files.map((file) => {
    const names = file.messages.map((message) => lowerFirst(message.name));
    return `import { ${names.join(', ')} } from './${definitionFileName(file)}.ts';`;
  });
  const codecs = files.flatMap((file) =>
    file.messages.map((message) => `  ['${message.name}', ${lowerFirst(message.name)}],`),
  );
  const definitions = files.flatMap((file) =>
    file.messages.map((message) => `  ['${message.name}', ${JSON.stringify(message)}],`),
  );
  return `${NOTICE}
import type { MessageDefinition } from '../generator/definition.ts';
import type { MessageCodec } from '../message-codec.ts';
${imports.join('\n')}

/** Every codec by the name of its message. */
export const codecs: ReadonlyMap<string, MessageCodec<unknown, unknown>> = new Map<string, MessageCodec<unknown, unknown>>([
${codecs.join('\n')}
]);

/** Every message's definition by its name. */
export const definitions: ReadonlyMap<string, MessageDefinition> = new Map<string, MessageDefinition>([
${definitions.join('\n')}
]);
`;
}

/** The generated files: name to content. */
export function generateFiles(messagesDirectory: string): Map<string, string> {
  const files = readDefinitions(messagesDirectory);
  const output = new Map<string, string>();
  for (const file of files) output.set(`${definitionFileName(file)}.ts`, emitFile(file));
  output.set('apis.ts', emitApis(files));
  output.set('messages.ts', emitMessages(files));
  return output;
}

/** Reads the definitions in one folder and writes the generated files into another. */
export function generateAll(messagesDirectory: string, outputDirectory: string): void {
  mkdirSync(outputDirectory, { recursive: true });
  for (const [name, text] of generateFiles(messagesDirectory))
    writeFileSync(join(outputDirectory, name), text);
}
