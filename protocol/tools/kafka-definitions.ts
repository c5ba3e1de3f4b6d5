// The facts of Kafka's own message definitions, read out of the official jars and brought into our model: what 4.4.0 says, joined
// with what 3.9.1 says of the versions that 4.0 dropped. Used by the importer and by the check of our definitions.
import { basename } from 'node:path';
import {
  type FieldDefinition,
  intersect,
  lowerFirst,
  type MessageDefinition,
  type MessageKind,
  OPEN_END,
  primitiveTypes,
  type StructDefinition,
  type VersionRange,
} from '../generator/definition.ts';
import { parseRange } from '../generator/notation.ts';
import { fetchJar, readJar } from './jar.ts';

export const CURRENT_VERSION = '4.4.0';
export const OLD_VERSION = '3.9.1';

/** Client-facing APIs, by key. Those between brokers and controllers are not needed. */
export const servedApiKeys: ReadonlySet<number> = new Set([
  0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
  32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 55, 57, 60, 61, 64, 65, 66,
  68, 69, 71, 72, 74, 75, 76, 77, 78, 79, 80, 81, 88, 89, 90, 91, 92, 93, 94,
]);

/** Artifacts with messages other than requests and responses, and which of theirs we want. */
const dataArtifacts: readonly { artifact: string; wanted: (name: string) => boolean }[] = [
  { artifact: 'kafka-group-coordinator', wanted: () => true },
  { artifact: 'kafka-transaction-coordinator', wanted: () => true },
  { artifact: 'kafka-share-coordinator', wanted: () => true },
  { artifact: 'kafka-metadata', wanted: (name) => name === 'ProducerIdsRecord' },
];

interface JsonField {
  name: string;
  type: string;
  versions?: string;
  nullableVersions?: string;
  taggedVersions?: string;
  flexibleVersions?: string;
  tag?: number | string;
  default?: string | number | boolean | null;
  ignorable?: boolean;
  fields?: JsonField[];
}

interface JsonMessage {
  apiKey?: number;
  type: MessageKind;
  name: string;
  validVersions: string;
  flexibleVersions?: string;
  latestVersionUnstable?: boolean;
  fields?: JsonField[];
  commonStructs?: { name: string; versions: string; fields: JsonField[] }[];
}

/** JSON with // comments outside strings. */
function parseCommentedJson(text: string): unknown {
  return JSON.parse(
    text.replace(/("(?:[^"\\]|\\.)*")|\/\/[^\n]*/g, (_all, string: string | undefined) => string ?? ''),
  );
}

function optionalRange(text: string | undefined): VersionRange | undefined {
  return text === undefined || text === 'none' ? undefined : parseRange(text);
}

function defaultLiteral(field: JsonField): string | null | undefined {
  const value = field.default;
  // A JSON null is no default at all, unlike the text "null": Kafka's generator takes it so.
  if (value === undefined || value === null) return undefined;
  if (value === 'null') return null;
  const isNumber = !field.type.startsWith('[]') && /^(u?int|float)/.test(field.type);
  return isNumber ? BigInt(value).toString() : String(value);
}

function toField(json: JsonField): FieldDefinition {
  const isArray = json.type.startsWith('[]');
  const type = isArray ? json.type.slice(2) : json.type;
  const tagged = optionalRange(json.taggedVersions);
  const versions = json.versions === undefined ? tagged : parseRange(json.versions);
  if (versions === undefined) throw new Error(`${json.name} has no versions`);
  const nullable = intersect(versions, optionalRange(json.nullableVersions));
  const literal = defaultLiteral(json);
  return {
    name: lowerFirst(json.name),
    type,
    isArray,
    versions,
    ...(nullable === undefined ? {} : { nullable }),
    ...(tagged === undefined ? {} : { tag: Number(json.tag), tagged }),
    ...(literal === undefined ? {} : { default: literal }),
    ignorable: json.ignorable === true,
    neverFlexible: json.flexibleVersions === 'none',
    ...(json.fields === undefined || primitiveTypes.has(type) ? {} : { fields: json.fields.map(toField) }),
  };
}

function toMessage(json: JsonMessage): MessageDefinition {
  const versions = parseRange(json.validVersions);
  const flexible = optionalRange(json.flexibleVersions);
  return {
    name: json.name,
    kind: json.type,
    key: json.apiKey ?? -1,
    versions,
    ...(json.latestVersionUnstable === true ? { unstableFrom: versions.to } : {}),
    ...(flexible === undefined ? {} : { flexible }),
    fields: (json.fields ?? []).map(toField),
    commonStructs: (json.commonStructs ?? []).map(
      (struct): StructDefinition => ({
        name: struct.name,
        versions: parseRange(struct.versions),
        fields: struct.fields.map(toField),
      }),
    ),
  };
}

function readMessages(jarPath: string): Map<string, JsonMessage> {
  const messages = new Map<string, JsonMessage>();
  for (const [name, content] of readJar(jarPath, (file) =>
    /^common\/(message|metadata)\/\w+\.json$/.test(file),
  )) {
    messages.set(basename(name, '.json'), parseCommentedJson(content.toString('utf8')) as JsonMessage);
  }
  return messages;
}

/**
 * Joins the fields of both releases. The current one's facts stand; a field only the old one has is taken where its versions
 * end before the current ones begin (else it was renamed, and the current name stands for it).
 */
function joinFields(
  current: readonly FieldDefinition[],
  old: readonly FieldDefinition[],
  currentVersions: VersionRange,
): FieldDefinition[] {
  const oldByName = new Map(old.map((field) => [field.name, field]));
  const joined = current.map((field): FieldDefinition => {
    const before = oldByName.get(field.name);
    if (before === undefined) return field;
    const versions = {
      from: Math.min(field.versions.from, before.versions.from),
      to: field.versions.to,
    };
    if (field.fields === undefined || before.fields === undefined) return { ...field, versions };
    return { ...field, versions, fields: joinFields(field.fields, before.fields, currentVersions) };
  });
  const names = new Set(joined.map((field) => field.name));
  old.forEach((field, index) => {
    if (names.has(field.name) || field.versions.to >= currentVersions.from) return;
    const previous = old[index - 1];
    const at = previous === undefined ? 0 : joined.findIndex((other) => other.name === previous.name) + 1;
    joined.splice(at, 0, field);
  });
  return joined;
}

function joinMessages(current: MessageDefinition, old: MessageDefinition): MessageDefinition {
  // What was not stable then and is gone now was never promised to anyone.
  const oldFrom = old.versions.from;
  const oldStableTo = old.unstableFrom === undefined ? old.versions.to : old.unstableFrom - 1;
  if (oldFrom >= current.versions.from || oldStableTo < current.versions.from - 1) return current;
  const structs = new Map(old.commonStructs.map((struct) => [struct.name, struct]));
  return {
    ...current,
    versions: { from: oldFrom, to: current.versions.to },
    fields: joinFields(current.fields, old.fields, current.versions),
    commonStructs: current.commonStructs.map((struct) => {
      const before = structs.get(struct.name);
      return before === undefined
        ? struct
        : { ...struct, fields: joinFields(struct.fields, before.fields, current.versions) };
    }),
  };
}

/** A field's ranges cut to what the message has, so that two ways to say the same compare equal. */
export function normaliseField(field: FieldDefinition, within: VersionRange): FieldDefinition | undefined {
  const cut = intersect(within, field.versions);
  if (cut === undefined) return undefined;
  const versions = { from: cut.from, to: field.versions.to >= within.to ? OPEN_END : cut.to };
  const nullable =
    field.nullable === undefined ? undefined : intersect(versions, openEnd(field.nullable, within));
  const tagged = field.tagged === undefined ? undefined : intersect(versions, openEnd(field.tagged, within));
  const { nullable: _nullable, tagged: _tagged, tag, fields, ...rest } = field;
  return {
    ...rest,
    versions,
    ...(nullable === undefined ? {} : { nullable }),
    ...(tagged === undefined || tag === undefined ? {} : { tag, tagged }),
    ...(fields === undefined ? {} : { fields: normaliseFields(fields, within) }),
  };
}

function openEnd(range: VersionRange, within: VersionRange): VersionRange {
  return range.to >= within.to ? { from: range.from, to: OPEN_END } : range;
}

export function normaliseFields(fields: readonly FieldDefinition[], within: VersionRange): FieldDefinition[] {
  return fields.map((field) => normaliseField(field, within)).filter((field) => field !== undefined);
}

function normalise(message: MessageDefinition): MessageDefinition {
  const within = message.versions;
  const { flexible: flexibleRange, ...rest } = message;
  const flexible = intersect(within, flexibleRange);
  return {
    ...rest,
    ...(flexible === undefined ? {} : { flexible: openEnd(flexible, within) }),
    fields: normaliseFields(message.fields, within),
    commonStructs: message.commonStructs.map((struct) => {
      const cut = intersect(within, struct.versions) ?? struct.versions;
      return { ...struct, versions: openEnd(cut, within), fields: normaliseFields(struct.fields, within) };
    }),
  };
}

/** Every message we want, joined and normalised, by name. Fetches the jars into `jarDirectory` where they are missing. */
export function loadKafkaDefinitions(jarDirectory: string): Map<string, MessageDefinition> {
  const result = new Map<string, MessageDefinition>();
  const old = readMessages(fetchJar('kafka-clients', OLD_VERSION, jarDirectory));
  for (const [name, json] of readMessages(fetchJar('kafka-clients', CURRENT_VERSION, jarDirectory))) {
    if (json.validVersions === 'none') continue;
    if (json.apiKey !== undefined && !servedApiKeys.has(json.apiKey)) continue;
    const before = old.get(name);
    const current = toMessage(json);
    // Only a request says whether its API's last version is stable.
    const latestVersionUnstable =
      old.get(name.replace(/Response$/, 'Request'))?.latestVersionUnstable === true;
    const joined =
      before === undefined ? current : joinMessages(current, toMessage({ ...before, latestVersionUnstable }));
    result.set(name, normalise(joined));
  }
  for (const { artifact, wanted } of dataArtifacts) {
    for (const [name, json] of readMessages(fetchJar(artifact, CURRENT_VERSION, jarDirectory))) {
      if (wanted(name)) result.set(name, normalise(toMessage(json)));
    }
  }
  return result;
}
