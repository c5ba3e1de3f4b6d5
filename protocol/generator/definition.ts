// What a message definition says, apart from how it is written down: the model between the notation and the generator.

/** Versions from..to, both included. `to` is OPEN_END where the range has no end. */
export interface VersionRange {
  readonly from: number;
  readonly to: number;
}

export const OPEN_END = 32767;

export type PrimitiveType =
  | 'bool'
  | 'int8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'float64'
  | 'string'
  | 'bytes'
  | 'records'
  | 'uuid';

export const primitiveTypes: ReadonlySet<string> = new Set<PrimitiveType>([
  'bool',
  'int8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'float64',
  'string',
  'bytes',
  'records',
  'uuid',
]);

export interface FieldDefinition {
  /** Kafka's name with a small first letter. */
  readonly name: string;
  /** A primitive's name or a struct's. */
  readonly type: string;
  readonly isArray: boolean;
  readonly versions: VersionRange;
  readonly nullable?: VersionRange;
  readonly tag?: number;
  /** Versions in which the field is a tagged one; set together with `tag`. */
  readonly tagged?: VersionRange;
  /** The explicit default, as its literal: null, a number, true or false, or a string. */
  readonly default?: string | null;
  readonly ignorable: boolean;
  /** True where the field keeps its old form in flexible versions too. */
  readonly neverFlexible: boolean;
  /** The struct's fields where it is defined at this place. */
  readonly fields?: readonly FieldDefinition[];
}

export interface StructDefinition {
  readonly name: string;
  readonly versions: VersionRange;
  readonly fields: readonly FieldDefinition[];
}

export type MessageKind =
  | 'request'
  | 'response'
  | 'data'
  | 'coordinator-key'
  | 'coordinator-value'
  | 'metadata'
  | 'header';

export interface MessageDefinition {
  /** As Kafka calls it: 'ProduceRequest'. */
  readonly name: string;
  readonly kind: MessageKind;
  /** The API key of a request or response; the record type of coordinator and metadata records; else -1. */
  readonly key: number;
  readonly versions: VersionRange;
  /** The first version that is not stable yet; absent where all are. */
  readonly unstableFrom?: number;
  /** Absent where no version is flexible. */
  readonly flexible?: VersionRange;
  readonly fields: readonly FieldDefinition[];
  readonly commonStructs: readonly StructDefinition[];
}

/** One definition file: an API's request and response, or one data message. */
export interface DefinitionFile {
  readonly apiName?: string;
  readonly messages: readonly MessageDefinition[];
}

export function inRange(range: VersionRange | undefined, version: number): boolean {
  return range !== undefined && version >= range.from && version <= range.to;
}

export function intersect(a: VersionRange, b: VersionRange | undefined): VersionRange | undefined {
  if (b === undefined) return undefined;
  const from = Math.max(a.from, b.from);
  const to = Math.min(a.to, b.to);
  return from <= to ? { from, to } : undefined;
}

export function sameRange(a: VersionRange | undefined, b: VersionRange | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && a.from === b.from && a.to === b.to);
}

/** 'DescribeLogDirs' to 'describe-log-dirs'. */
export function kebabCase(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1-$2')
    .toLowerCase();
}

export function lowerFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

export function upperFirst(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** The file a definition or its generated code is in, without its ending: '00-produce', 'data-abort-txn'. */
export function definitionFileName(file: DefinitionFile): string {
  const first = file.messages[0]!;
  if (file.apiName === undefined) return `data-${kebabCase(first.name)}`;
  return `${String(first.key).padStart(2, '0')}-${kebabCase(file.apiName)}`;
}
