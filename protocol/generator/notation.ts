// Our notation for message definitions (protocol/README.md describes it): text to model and back.
import {
  type DefinitionFile,
  type FieldDefinition,
  intersect,
  type MessageDefinition,
  type MessageKind,
  OPEN_END,
  primitiveTypes,
  type StructDefinition,
  sameRange,
  type VersionRange,
} from './definition.ts';

/** A mistake in a definition file, with its place. */
export class DefinitionError extends Error {
  override readonly name = 'DefinitionError';
}

const FIELD_INDENT = '  ';

// ---- reading ----

interface Line {
  readonly number: number;
  readonly depth: number;
  readonly words: readonly string[];
}

function splitWords(text: string): string[] {
  return text.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
}

export function parseRange(text: string): VersionRange {
  const match = /^(\d+)(\+|-(\d+))?$/.exec(text);
  if (match === null) throw new DefinitionError(`'${text}' is no version range`);
  const from = Number(match[1]);
  const to = match[2] === undefined ? from : match[2] === '+' ? OPEN_END : Number(match[3]);
  if (to < from) throw new DefinitionError(`'${text}' is an empty version range`);
  return { from, to };
}

export function formatRange(range: VersionRange): string {
  if (range.from === range.to) return `${range.from}`;
  return range.to === OPEN_END ? `${range.from}+` : `${range.from}-${range.to}`;
}

function parseField(line: Line, fields: FieldDefinition[] | undefined): FieldDefinition {
  const [name, typeWord, versionsWord, ...rest] = line.words;
  if (name === undefined || typeWord === undefined || versionsWord === undefined) {
    throw new DefinitionError('a field needs a name, a type and versions');
  }
  const match = /^(\[\])?([A-Za-z][A-Za-z0-9]*)(\?(.*))?$/.exec(typeWord);
  if (match === null) throw new DefinitionError(`'${typeWord}' is no type`);
  const versions = parseRange(versionsWord);
  const field: { -readonly [K in keyof FieldDefinition]: FieldDefinition[K] } = {
    name,
    type: match[2]!,
    isArray: match[1] !== undefined,
    versions,
    ignorable: false,
    neverFlexible: false,
  };
  if (match[3] !== undefined) field.nullable = match[4] === '' ? versions : parseRange(match[4]!);
  while (rest.length > 0) {
    const word = rest.shift()!;
    if (word === 'ignorable') field.ignorable = true;
    else if (word === 'inflexible') field.neverFlexible = true;
    else if (word === '=') {
      const literal = rest.shift();
      if (literal === undefined) throw new DefinitionError('= needs a value');
      field.default =
        literal === 'null' ? null : literal.startsWith('"') ? (JSON.parse(literal) as string) : literal;
    } else if (word === 'tag') {
      const tagMatch = /^(\d+)(@(.+))?$/.exec(rest.shift() ?? '');
      if (tagMatch === null) throw new DefinitionError('tag needs a number');
      field.tag = Number(tagMatch[1]);
      field.tagged = tagMatch[3] === undefined ? versions : parseRange(tagMatch[3]);
    } else throw new DefinitionError(`'${word}' is not known`);
  }
  if (fields !== undefined) field.fields = fields;
  if (fields !== undefined && primitiveTypes.has(field.type))
    throw new DefinitionError(`${field.type} has no fields`);
  return field;
}

/** Reads the text of one definition file. Throws DefinitionError, which names the file and line. */
export function parseDefinitions(text: string, fileName: string): DefinitionFile {
  const lines: Line[] = [];
  text.split('\n').forEach((raw, index) => {
    const content = raw.replace(/^\s*#.*$/, '').trimEnd();
    if (content === '') return;
    const indent = content.length - content.trimStart().length;
    if (indent % FIELD_INDENT.length !== 0)
      throw new DefinitionError(`${fileName}:${index + 1}: odd indentation`);
    lines.push({ number: index + 1, depth: indent / FIELD_INDENT.length, words: splitWords(content) });
  });
  let at = 0;
  const fail = (line: Line, error: unknown): never => {
    throw new DefinitionError(
      `${fileName}:${line.number}: ${error instanceof Error ? error.message : error}`,
    );
  };

  function parseFields(depth: number): FieldDefinition[] {
    const fields: FieldDefinition[] = [];
    while (at < lines.length && lines[at]!.depth >= depth && lines[at]!.words[0] !== 'struct') {
      const line = lines[at]!;
      if (line.depth > depth) fail(line, 'indented too deep');
      at += 1;
      const deeper = at < lines.length && lines[at]!.depth > depth;
      const nested = deeper ? parseFields(depth + 1) : undefined;
      try {
        const field = parseField(line, nested);
        if (fields.some((other) => other.name === field.name))
          throw new DefinitionError(`${field.name} twice`);
        fields.push(field);
      } catch (error) {
        fail(line, error);
      }
    }
    return fields;
  }

  let apiName: string | undefined;
  let apiKey = -1;
  const messages: MessageDefinition[] = [];
  while (at < lines.length) {
    const line = lines[at]!;
    at += 1;
    if (line.depth !== 0) fail(line, 'indented under nothing');
    try {
      const [kind, ...rest] = line.words;
      if (kind === 'api') {
        apiKey = Number(rest[0]);
        apiName = rest[1];
        if (!Number.isInteger(apiKey) || apiName === undefined)
          throw new DefinitionError('api needs a key and a name');
        continue;
      }
      let key = -1;
      let name: string;
      if (kind === 'request' || kind === 'response') {
        if (apiName === undefined) throw new DefinitionError(`a ${kind} needs an api line before it`);
        key = apiKey;
        name = `${apiName}${kind === 'request' ? 'Request' : 'Response'}`;
      } else if (kind === 'data' || kind === 'header') name = rest.shift()!;
      else if (kind === 'coordinator-key' || kind === 'coordinator-value' || kind === 'metadata') {
        key = Number(rest.shift());
        name = rest.shift()!;
      } else throw new DefinitionError(`'${kind}' is not known`);
      const versions = parseRange(rest.shift() ?? '');
      let unstableFrom: number | undefined;
      let flexible: VersionRange | undefined;
      while (rest.length > 0) {
        const word = rest.shift();
        if (word === 'flexible') flexible = parseRange(rest.shift() ?? '');
        else if (word === 'unstable') unstableFrom = parseRange(rest.shift() ?? '').from;
        else throw new DefinitionError(`'${word}' is not known`);
      }
      const fields = parseFields(1);
      const commonStructs: StructDefinition[] = [];
      while (at < lines.length && lines[at]!.words[0] === 'struct') {
        const structLine = lines[at]!;
        at += 1;
        commonStructs.push({
          name: structLine.words[1] ?? '',
          versions: parseRange(structLine.words[2] ?? ''),
          fields: parseFields(2),
        });
      }
      const message: MessageDefinition = {
        name,
        kind: kind as MessageKind,
        key,
        versions,
        ...(unstableFrom === undefined ? {} : { unstableFrom }),
        ...(flexible === undefined ? {} : { flexible }),
        fields,
        commonStructs,
      };
      checkMessage(message);
      messages.push(message);
    } catch (error) {
      if (error instanceof DefinitionError && error.message.startsWith(fileName)) throw error;
      fail(line, error);
    }
  }
  if (messages.length === 0) throw new DefinitionError(`${fileName}: no message`);
  return apiName === undefined ? { messages } : { apiName, messages };
}

/** What must hold for every message; the generator relies on it. */
function checkMessage(message: MessageDefinition): void {
  const structs = new Map<string, readonly FieldDefinition[]>();
  const define = (name: string, fields: readonly FieldDefinition[]): void => {
    if (structs.has(name)) throw new DefinitionError(`${message.name}: struct ${name} is defined twice`);
    structs.set(name, fields);
  };
  const collect = (fields: readonly FieldDefinition[]): void => {
    for (const field of fields) {
      if (field.fields !== undefined) {
        define(field.type, field.fields);
        collect(field.fields);
      }
    }
  };
  for (const struct of message.commonStructs) {
    define(struct.name, struct.fields);
    collect(struct.fields);
  }
  collect(message.fields);
  const check = (fields: readonly FieldDefinition[], path: readonly string[]): void => {
    const tags = new Set<number>();
    for (const field of fields) {
      const where = `${message.name} ${field.name}`;
      if (!primitiveTypes.has(field.type) && !structs.has(field.type)) {
        throw new DefinitionError(`${where}: type ${field.type} is not known`);
      }
      if (path.includes(field.type)) throw new DefinitionError(`${where}: ${field.type} holds itself`);
      if (field.tag !== undefined) {
        if (tags.has(field.tag)) throw new DefinitionError(`${where}: tag ${field.tag} twice`);
        tags.add(field.tag);
        const tagged = intersect(message.versions, field.tagged);
        if (tagged !== undefined && !sameRange(intersect(tagged, message.flexible), tagged)) {
          throw new DefinitionError(`${where}: tagged in versions that are not flexible`);
        }
      }
      if (field.default === null && field.nullable === undefined)
        throw new DefinitionError(`${where}: null is no default here`);
      const nested = structs.get(field.type);
      if (nested !== undefined && field.fields !== undefined) check(nested, [...path, field.type]);
    }
  };
  check(message.fields, []);
  for (const struct of message.commonStructs) check(struct.fields, [struct.name]);
}

// ---- writing ----

function formatDefault(field: FieldDefinition): string {
  if (field.default === null) return 'null';
  return field.type === 'string' && !field.isArray ? JSON.stringify(field.default) : String(field.default);
}

function formatFields(fields: readonly FieldDefinition[], depth: number, out: string[]): void {
  const rows = fields.map((field) => {
    let type = `${field.isArray ? '[]' : ''}${field.type}`;
    if (field.nullable !== undefined)
      type += sameRange(field.nullable, field.versions) ? '?' : `?${formatRange(field.nullable)}`;
    const rest: string[] = [];
    if (field.tag !== undefined) {
      rest.push(
        `tag ${field.tag}${sameRange(field.tagged, field.versions) ? '' : `@${formatRange(field.tagged!)}`}`,
      );
    }
    if (field.default !== undefined) rest.push(`= ${formatDefault(field)}`);
    if (field.ignorable) rest.push('ignorable');
    if (field.neverFlexible) rest.push('inflexible');
    return { name: field.name, type, versions: formatRange(field.versions), rest: rest.join(' ') };
  });
  const nameWidth = Math.max(...rows.map((row) => row.name.length));
  const typeWidth = Math.max(...rows.map((row) => row.type.length));
  rows.forEach((row, index) => {
    const head = `${row.name.padEnd(nameWidth)}  ${row.type.padEnd(typeWidth)}  ${row.versions.padEnd(5)}`;
    out.push(`${FIELD_INDENT.repeat(depth)}${`${head}  ${row.rest}`.trimEnd()}`);
    const nested = fields[index]!.fields;
    if (nested !== undefined) formatFields(nested, depth + 1, out);
  });
}

/** The text of a definition file; parseDefinitions gives the same model back. */
export function formatDefinitions(file: DefinitionFile): string {
  const out: string[] = [];
  if (file.apiName !== undefined) out.push(`api ${file.messages[0]!.key} ${file.apiName}`);
  for (const message of file.messages) {
    if (out.length > 0) out.push('');
    const words: string[] = [message.kind];
    if (message.kind === 'data' || message.kind === 'header') words.push(message.name);
    else if (message.kind !== 'request' && message.kind !== 'response')
      words.push(String(message.key), message.name);
    words.push(formatRange(message.versions));
    if (message.flexible !== undefined) words.push('flexible', formatRange(message.flexible));
    if (message.unstableFrom !== undefined) words.push('unstable', `${message.unstableFrom}+`);
    out.push(words.join(' '));
    formatFields(message.fields, 1, out);
    for (const struct of message.commonStructs) {
      out.push(`${FIELD_INDENT}struct ${struct.name} ${formatRange(struct.versions)}`);
      formatFields(struct.fields, 2, out);
    }
  }
  return `${out.join('\n')}\n`;
}
