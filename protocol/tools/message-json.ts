// Messages to and from the JSON of the vectors, by their definitions: 64-bit integers are text, bytes and records base64, uuids
// base64url; a tagged field at its default is left out; a field that the version does not have is absent. For tools and tests
// only: it walks the definition, which the broker never does.
import {
  type FieldDefinition,
  inRange,
  type MessageDefinition,
  primitiveTypes,
} from '../generator/definition.ts';
import { type Int64, int64FromText } from '../wire/int64.ts';
import { isUuid, ZERO_UUID } from '../wire/uuid.ts';

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };
type Value = Record<string, unknown>;

/** JSON that is no value of the message, with the place. */
export class MessageJsonError extends Error {
  override readonly name = 'MessageJsonError';
}

const integerRanges: Readonly<Record<string, readonly [number, number]>> = {
  int8: [-0x80, 0x7f],
  int16: [-0x8000, 0x7fff],
  uint16: [0, 0xffff],
  int32: [-0x80000000, 0x7fffffff],
  uint32: [0, 0xffffffff],
};

function structsOf(message: MessageDefinition): Map<string, readonly FieldDefinition[]> {
  const structs = new Map<string, readonly FieldDefinition[]>();
  const collect = (fields: readonly FieldDefinition[]): void => {
    for (const field of fields) {
      if (field.fields === undefined) continue;
      structs.set(field.type, field.fields);
      collect(field.fields);
    }
  };
  for (const struct of message.commonStructs) {
    structs.set(struct.name, struct.fields);
    collect(struct.fields);
  }
  collect(message.fields);
  return structs;
}

/** Translates the values of one message in one version. */
export class MessageJson {
  private readonly message: MessageDefinition;
  private readonly version: number;
  private readonly structs: Map<string, readonly FieldDefinition[]>;

  constructor(message: MessageDefinition, version: number) {
    this.message = message;
    this.version = version;
    this.structs = structsOf(message);
  }

  /** A decoded message as JSON. */
  toJson(value: unknown): Json {
    return this.structToJson(this.message.fields, value as Value);
  }

  /** What JSON says, ready to encode. Throws MessageJsonError. */
  fromJson(json: Json): Value {
    return this.structFromJson(this.message.fields, json, '');
  }

  private structToJson(fields: readonly FieldDefinition[], value: Value): JsonObject {
    const json: JsonObject = {};
    for (const field of fields) {
      if (!inRange(field.versions, this.version)) continue;
      const member = value[field.name];
      if (inRange(field.tagged, this.version) && this.isDefault(field, member)) continue;
      json[field.name] = this.fieldToJson(field, member);
    }
    return json;
  }

  private fieldToJson(field: FieldDefinition, value: unknown): Json {
    if (value === null) return null;
    if (field.isArray) return (value as unknown[]).map((item) => this.oneToJson(field, item));
    return this.oneToJson(field, value);
  }

  private oneToJson(field: FieldDefinition, value: unknown): Json {
    const fields = this.structs.get(field.type);
    if (fields !== undefined && !primitiveTypes.has(field.type))
      return this.structToJson(fields, value as Value);
    if (field.type === 'int64') return String(value);
    if (field.type === 'bytes' || field.type === 'records') return (value as Buffer).toString('base64');
    return value as Json;
  }

  private isDefault(field: FieldDefinition, value: unknown): boolean {
    if (value === undefined) return true;
    if (field.default === null || value === null) return value === null && field.default === null;
    if (field.isArray) return (value as unknown[]).length === 0;
    const literal = field.default;
    switch (field.type) {
      case 'bool':
        return value === (literal === 'true');
      case 'string':
        return value === (literal ?? '');
      case 'uuid':
        return value === ZERO_UUID;
      case 'bytes':
      case 'records':
        return (value as Buffer).length === 0;
      case 'int64':
        return BigInt(value as Int64) === BigInt(literal ?? 0);
    }
    const fields = this.structs.get(field.type);
    if (fields === undefined || primitiveTypes.has(field.type)) return value === Number(literal ?? 0);
    return fields.every((nested) => this.isDefault(nested, (value as Value)[nested.name]));
  }

  private structFromJson(fields: readonly FieldDefinition[], json: Json, path: string): Value {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new MessageJsonError(`${path === '' ? 'value' : path}: an object is wanted`);
    }
    const value: Value = {};
    const known = new Set<string>();
    for (const field of fields) {
      if (!inRange(field.versions, this.version)) continue;
      known.add(field.name);
      const fieldPath = path === '' ? field.name : `${path}.${field.name}`;
      const member = json[field.name];
      if (member !== undefined) value[field.name] = this.fieldFromJson(field, member, fieldPath);
      else if (!inRange(field.tagged, this.version)) throw new MessageJsonError(`${fieldPath}: missing`);
    }
    for (const name of Object.keys(json)) {
      if (!known.has(name)) {
        throw new MessageJsonError(
          `${path === '' ? name : `${path}.${name}`}: ${this.message.name} v${this.version} has no such field`,
        );
      }
    }
    return value;
  }

  private fieldFromJson(field: FieldDefinition, json: Json, path: string): unknown {
    if (json === null) return null;
    if (!field.isArray) return this.oneFromJson(field, json, path);
    if (!Array.isArray(json)) throw new MessageJsonError(`${path}: a list is wanted`);
    return json.map((item, index) => this.oneFromJson(field, item, `${path}[${index}]`));
  }

  private oneFromJson(field: FieldDefinition, json: Json, path: string): unknown {
    const wrong = (): MessageJsonError =>
      new MessageJsonError(`${path}: ${JSON.stringify(json)} is no ${field.type}`);
    switch (field.type) {
      case 'bool':
        if (typeof json !== 'boolean') throw wrong();
        return json;
      case 'int64':
        if (typeof json !== 'string' || !/^-?\d+$/.test(json)) throw wrong();
        return int64FromText(json);
      case 'float64':
        if (typeof json === 'string' && /^(NaN|-?Infinity)$/.test(json)) return Number(json);
        if (typeof json !== 'number') throw wrong();
        return json;
      case 'string':
        if (typeof json !== 'string') throw wrong();
        return json;
      case 'uuid':
        if (typeof json !== 'string' || !isUuid(json)) throw wrong();
        return json;
      case 'bytes':
      case 'records': {
        if (typeof json !== 'string') throw wrong();
        return Buffer.from(json, 'base64');
      }
    }
    const range = integerRanges[field.type];
    if (range !== undefined) {
      if (typeof json !== 'number' || !Number.isInteger(json) || json < range[0] || json > range[1])
        throw wrong();
      return json;
    }
    return this.structFromJson(this.structs.get(field.type)!, json, path);
  }
}
