// Writes the TypeScript of one message: its types, and a decoder, a size and an encoder for each of its structs. What it writes is
// straight-line code with the versions spelled out; nothing walks a schema when a message is read or written.
import {
  type FieldDefinition,
  inRange,
  intersect,
  lowerFirst,
  type MessageDefinition,
  primitiveTypes,
  upperFirst,
  type VersionRange,
} from './definition.ts';

const NEVER_FLEXIBLE = 32767;

/** A struct as the generator sees it: the message itself, one defined in place, or a common one. */
interface Struct {
  /** The name of its TypeScript type. */
  readonly typeName: string;
  readonly fields: readonly FieldDefinition[];
  /** Where its fields are in the message, for errors. */
  readonly path: string;
  /** Versions in which the struct can be met. */
  domain: VersionRange;
}

interface Piece {
  readonly range: VersionRange;
  readonly code: string;
}

const fixedBytes: Readonly<Record<string, number>> = {
  bool: 1,
  int8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  float64: 8,
  uuid: 16,
};

const typeScriptTypes: Readonly<Record<string, string>> = {
  bool: 'boolean',
  int8: 'number',
  int16: 'number',
  uint16: 'number',
  int32: 'number',
  uint32: 'number',
  int64: 'Int64',
  float64: 'number',
  string: 'string',
  bytes: 'Buffer',
  records: 'Buffer',
  uuid: 'Uuid',
};

const reservedNames = new Set(
  (
    'reader writer version value size tags tag tagEnd count index break case catch class const continue debugger default delete do else ' +
    'enum export extends false finally for function if import in instanceof new null return super switch this throw true try typeof ' +
    'var void while with yield let static await implements interface package private protected public arguments eval'
  ).split(' '),
);

function localName(field: FieldDefinition): string {
  return reservedNames.has(field.name) ? `${field.name}Field` : field.name;
}

/** A condition on `version` that holds in `range`, knowing that `version` is in `within`. */
function condition(range: VersionRange, within: VersionRange): string {
  const low = range.from > within.from ? `version >= ${range.from}` : '';
  const high = range.to < within.to ? `version <= ${range.to}` : '';
  return low !== '' && high !== '' ? `${low} && ${high}` : low || high || 'true';
}

/** Pieces over `within` from a function of the version; neighbours with the same code are one. */
function piecesOf(within: VersionRange, codeAt: (version: number) => string): Piece[] {
  const pieces: { range: { from: number; to: number }; code: string }[] = [];
  for (let version = within.from; version <= within.to; version += 1) {
    const code = codeAt(version);
    const last = pieces[pieces.length - 1];
    if (last !== undefined && last.code === code) last.range.to = version;
    else pieces.push({ range: { from: version, to: version }, code });
  }
  return pieces;
}

/** An expression that chooses by version; newest versions first. */
function choose(pieces: readonly Piece[]): string {
  let expression = pieces[0]!.code;
  for (const piece of pieces.slice(1))
    expression = `version >= ${piece.range.from} ? ${piece.code} : ${expression}`;
  return pieces.length === 1 ? expression : `(${expression})`;
}

export class MessageEmitter {
  private readonly message: MessageDefinition;
  private readonly structs = new Map<string, Struct>();
  private readonly out: string[] = [];
  private readonly needsDefault = new Set<string>();

  constructor(message: MessageDefinition) {
    this.message = message;
  }

  /** The whole code of the message, without imports. */
  emit(): string {
    const { message } = this;
    for (const struct of message.commonStructs) {
      this.structs.set(struct.name, {
        typeName: message.name + struct.name,
        fields: struct.fields,
        path: struct.name,
        domain: { from: NEVER_FLEXIBLE, to: -1 },
      });
      this.collect(struct.fields, struct.name);
    }
    this.collect(message.fields, '');
    const root: Struct = {
      typeName: message.name,
      fields: message.fields,
      path: '',
      domain: message.versions,
    };
    this.spread(root.fields, root.domain);
    const all = [...[...this.structs.values()].filter((struct) => struct.domain.to >= 0), root];
    for (const struct of all) this.emitTypes(struct);
    for (const struct of all) this.emitDecode(struct);
    for (const struct of all) this.emitSizeOf(struct);
    const referencing = all.filter((struct) => this.holdsRecords(struct));
    for (const struct of referencing) this.emitReferencedSizeOf(struct);
    for (const struct of all) this.emitEncode(struct);
    for (const struct of all) if (this.needsDefault.has(struct.typeName)) this.emitDefault(struct);
    this.emitCodec(referencing.length > 0);
    return tidy(this.out.join('\n'));
  }

  private collect(fields: readonly FieldDefinition[], path: string): void {
    for (const field of fields) {
      if (field.fields === undefined) continue;
      const fieldPath = path === '' ? field.name : `${path}.${field.name}`;
      this.structs.set(field.type, {
        typeName: this.message.name + field.type,
        fields: field.fields,
        path: fieldPath,
        domain: { from: NEVER_FLEXIBLE, to: -1 },
      });
      this.collect(field.fields, fieldPath);
    }
  }

  /** Finds in which versions every struct can be met. */
  private spread(fields: readonly FieldDefinition[], domain: VersionRange): void {
    for (const field of fields) {
      const struct = this.structs.get(field.type);
      const versions = intersect(domain, field.versions);
      if (struct === undefined || versions === undefined) continue;
      struct.domain = {
        from: Math.min(struct.domain.from, versions.from),
        to: Math.max(struct.domain.to, versions.to),
      };
      this.spread(struct.fields, versions);
    }
  }

  private struct(field: FieldDefinition): Struct | undefined {
    return primitiveTypes.has(field.type) ? undefined : this.structs.get(field.type)!;
  }

  private flexibleAt(version: number, field?: FieldDefinition): boolean {
    return inRange(this.message.flexible, version) && field?.neverFlexible !== true;
  }

  private taggedAt(field: FieldDefinition, version: number): boolean {
    return inRange(field.tagged, version);
  }

  private untagged(struct: Struct): FieldDefinition[] {
    return struct.fields.filter((field) =>
      piecesOf(struct.domain, (version) =>
        String(inRange(field.versions, version) && !this.taggedAt(field, version)),
      ).some((piece) => piece.code === 'true'),
    );
  }

  private tagged(struct: Struct): FieldDefinition[] {
    return struct.fields
      .filter((field) => intersect(struct.domain, field.tagged) !== undefined)
      .sort((a, b) => a.tag! - b.tag!);
  }

  private where(struct: Struct, field: FieldDefinition): string {
    return `'${struct.path === '' ? '' : `${struct.path}.`}${field.name}'`;
  }

  // ---- types ----

  private decodedType(field: FieldDefinition): string {
    const struct = this.struct(field);
    const one = struct === undefined ? typeScriptTypes[field.type]! : struct.typeName;
    return `${one}${field.isArray ? '[]' : ''}${field.nullable === undefined ? '' : ' | null'}`;
  }

  private inputType(field: FieldDefinition): string {
    const struct = this.struct(field);
    let one = struct === undefined ? typeScriptTypes[field.type]! : `${struct.typeName}Input`;
    if (field.type === 'bytes') one = 'Uint8Array';
    if (field.type === 'records') one = 'Buffer | readonly Buffer[]';
    return `${field.isArray ? `readonly ${one}[]` : one}${field.nullable === undefined ? '' : ' | null'}`;
  }

  private isRequired(struct: Struct, field: FieldDefinition): boolean {
    const { domain } = struct;
    return (
      field.default === undefined &&
      field.tag === undefined &&
      field.versions.from <= domain.from &&
      field.versions.to >= domain.to
    );
  }

  private emitTypes(struct: Struct): void {
    this.out.push(`export interface ${struct.typeName} {`);
    for (const field of struct.fields) this.out.push(`  ${field.name}: ${this.decodedType(field)};`);
    this.out.push('}', '', `export interface ${struct.typeName}Input {`);
    for (const field of struct.fields) {
      const type = this.inputType(field);
      const required = this.isRequired(struct, field);
      this.out.push(`  readonly ${field.name}${required ? `: ${type}` : `?: ${type} | undefined`};`);
    }
    this.out.push('}', '');
  }

  // ---- defaults ----

  private defaultCode(field: FieldDefinition): string {
    if (field.default === null) return 'null';
    if (field.isArray) return '[]';
    const struct = this.struct(field);
    if (struct !== undefined) {
      this.requireDefault(struct);
      return `default${struct.typeName}()`;
    }
    const literal = field.default;
    switch (field.type) {
      case 'bool':
        return literal ?? 'false';
      case 'string':
        return JSON.stringify(literal ?? '');
      case 'bytes':
      case 'records':
        return 'EMPTY_BYTES';
      case 'uuid':
        return 'ZERO_UUID';
      case 'int64':
        return literal === undefined || Number.isSafeInteger(Number(literal))
          ? (literal ?? '0')
          : `${literal}n`;
      default:
        return literal ?? '0';
    }
  }

  private requireDefault(struct: Struct): void {
    if (this.needsDefault.has(struct.typeName)) return;
    this.needsDefault.add(struct.typeName);
    for (const field of struct.fields) this.defaultCode(field);
  }

  /** What an encoder takes where the caller left the field out. */
  private inputDefaultCode(field: FieldDefinition): string {
    return field.isArray && field.default !== null ? 'EMPTY_ARRAY' : this.defaultCode(field);
  }

  /** An expression that is true where `code` is not the field's default. */
  private differsFromDefault(field: FieldDefinition, code: string): string {
    const nullable = field.nullable !== undefined;
    if (field.default === null) return `${code} !== null`;
    const orNull = nullable ? `${code} === null || ` : '';
    if (field.isArray || field.type === 'bytes') return `${orNull}${code}.length !== 0`;
    if (field.type === 'records') return `${orNull}recordsSize(${code}) !== 0`;
    const struct = this.struct(field);
    if (struct !== undefined) {
      this.requireDefault(struct);
      return `${orNull}!isDefault${struct.typeName}(${code})`;
    }
    // 0n and 0 are the same int64.
    if (field.type === 'int64') return `${code} != ${this.defaultCode(field)}`;
    if (field.type === 'bool') return this.defaultCode(field) === 'true' ? `!${code}` : code;
    return `${code} !== ${this.defaultCode(field)}`;
  }

  /** An expression that is true where an input member is there and not at its default. */
  private isSet(field: FieldDefinition, code: string): string {
    const differs = this.differsFromDefault(field, code);
    return `${code} !== undefined && ${differs.includes('||') ? `(${differs})` : differs}`;
  }

  private emitDefault(struct: Struct): void {
    this.out.push(`function default${struct.typeName}(): ${struct.typeName} {`, '  return {');
    for (const field of struct.fields) this.out.push(`    ${field.name}: ${this.defaultCode(field)},`);
    this.out.push('  };', '}', '');
    this.out.push(`function isDefault${struct.typeName}(value: ${struct.typeName}Input): boolean {`);
    for (const field of struct.fields) {
      const name = localName(field);
      this.out.push(`  const ${name} = ${this.inputCode(struct, field)};`);
      this.out.push(`  if (${this.differsFromDefault(field, name)}) return false;`);
    }
    this.out.push('  return true;', '}', '');
  }

  // ---- decoding ----

  private readOne(field: FieldDefinition, version: number, nullable: boolean, where: string): string {
    const struct = this.struct(field);
    if (struct !== undefined) {
      const decode = `decode${struct.typeName}(reader, version)`;
      return nullable ? `reader.int8(${where}) < 0 ? null : ${decode}` : decode;
    }
    return `reader.${this.sizedMethod(field, version, nullable)}(${where})`;
  }

  /** 'int32', 'compactNullableString' ...: the reader's or writer's method for one value. */
  private sizedMethod(field: FieldDefinition, version: number, nullable: boolean): string {
    if (fixedBytes[field.type] !== undefined) return field.type;
    const flexible = this.flexibleAt(version, field);
    const method = `${nullable ? 'Nullable' : ''}${field.type.charAt(0).toUpperCase()}${field.type.slice(1)}`;
    return flexible ? `compact${method}` : lowerFirst(method);
  }

  private minElementBytes(field: FieldDefinition, version: number): number {
    const struct = this.struct(field);
    if (struct === undefined) return this.minBytes({ ...field, isArray: false }, version);
    return this.minStructBytes(struct, version);
  }

  private minBytes(field: FieldDefinition, version: number): number {
    const flexible = this.flexibleAt(version, field);
    if (field.isArray) return flexible ? 1 : 4;
    const struct = this.struct(field);
    if (struct !== undefined)
      return inRange(field.nullable, version) ? 1 : this.minStructBytes(struct, version);
    if (flexible && fixedBytes[field.type] === undefined) return 1;
    return fixedBytes[field.type] ?? (field.type === 'string' ? 2 : 4);
  }

  private minStructBytes(struct: Struct, version: number): number {
    let size = this.flexibleAt(version) ? 1 : 0;
    for (const field of struct.fields) {
      if (inRange(field.versions, version) && !this.taggedAt(field, version))
        size += this.minBytes(field, version);
    }
    return size;
  }

  private emitArrayRead(struct: Struct, field: FieldDefinition, domain: VersionRange, indent: string): void {
    const { out } = this;
    const name = localName(field);
    const where = this.where(struct, field);
    const min = choose(piecesOf(domain, (version) => String(this.minElementBytes(field, version))));
    const length = choose(
      piecesOf(domain, (version) => {
        const method = `${inRange(field.nullable, version) ? 'Nullable' : ''}ArrayLength`;
        return `reader.${this.flexibleAt(version, field) ? `compact${method}` : lowerFirst(method)}(${min}, ${where})`;
      }),
    );
    out.push(`${indent}const ${name}Count = ${length};`);
    let inner = indent;
    if (intersect(domain, field.nullable) !== undefined) {
      out.push(`${indent}if (${name}Count < 0) ${name} = null;`, `${indent}else {`);
      inner += '  ';
    }
    const element = choose(
      piecesOf(domain, (version) => this.readOne({ ...field, isArray: false }, version, false, where)),
    );
    const one = this.struct(field)?.typeName ?? typeScriptTypes[field.type]!;
    out.push(`${inner}const ${name}Items: ${one}[] = new Array(${name}Count);`);
    out.push(`${inner}for (let i = 0; i < ${name}Count; i += 1) ${name}Items[i] = ${element};`);
    out.push(`${inner}${name} = ${name}Items;`);
    if (inner !== indent) out.push(`${indent}}`);
  }

  private emitDecode(struct: Struct): void {
    const { out } = this;
    const { domain } = struct;
    out.push(`function decode${struct.typeName}(reader: ByteReader, version: number): ${struct.typeName} {`);
    const untagged = new Set(this.untagged(struct));
    const tagged = this.tagged(struct);
    for (const field of struct.fields) {
      const name = localName(field);
      const where = this.where(struct, field);
      if (!untagged.has(field)) {
        out.push(`  let ${name}: ${this.decodedType(field)} = ${this.defaultCode(field)};`);
        continue;
      }
      if (field.isArray) {
        const always =
          field.versions.from <= domain.from && field.versions.to >= domain.to && field.tagged === undefined;
        if (always) {
          out.push(`  let ${name}: ${this.decodedType(field)};`);
          this.emitArrayRead(struct, field, domain, '  ');
        } else {
          out.push(`  let ${name}: ${this.decodedType(field)} = ${this.defaultCode(field)};`);
          const plain = this.untaggedRange(struct, field);
          out.push(`  if (${condition(plain, domain)}) {`);
          this.emitArrayRead(struct, field, plain, '    ');
          out.push('  }');
        }
        continue;
      }
      const read = choose(
        piecesOf(domain, (version) =>
          inRange(field.versions, version) && !this.taggedAt(field, version)
            ? this.readOne(field, version, inRange(field.nullable, version), where)
            : this.defaultCode(field),
        ),
      );
      out.push(
        `  ${tagged.includes(field) ? 'let' : 'const'} ${name}: ${this.decodedType(field)} = ${read};`,
      );
    }
    const flexible = intersect(domain, this.message.flexible);
    if (flexible !== undefined) {
      const test = condition(flexible, domain);
      const where = `'${struct.path === '' ? '' : `${struct.path}.`}tagged fields'`;
      const indent = test === 'true' ? '  ' : '    ';
      if (tagged.length === 0)
        out.push(`  ${test === 'true' ? '' : `if (${test}) `}reader.skipTags(${where});`);
      else {
        if (test !== 'true') out.push(`  if (${test}) {`);
        out.push(`${indent}for (let left = reader.tagCount(${where}); left > 0; left -= 1) {`);
        out.push(`${indent}  const tag = reader.unsignedVarint(${where});`);
        out.push(`${indent}  const tagEnd = reader.tagEnd(${where});`);
        tagged.forEach((field, index) => {
          const versions = intersect(flexible, field.tagged)!;
          const inVersions = condition(versions, flexible);
          const name = localName(field);
          out.push(
            `${indent}  ${index === 0 ? '' : '} else '}if (tag === ${field.tag}${inVersions === 'true' ? '' : ` && ${inVersions}`}) {`,
          );
          if (field.isArray) this.emitArrayRead(struct, field, versions, `${indent}    `);
          else {
            const read = choose(
              piecesOf(versions, (version) =>
                this.readOne(field, version, inRange(field.nullable, version), this.where(struct, field)),
              ),
            );
            out.push(`${indent}    ${name} = ${read};`);
          }
          out.push(`${indent}    reader.endTag(tagEnd, ${this.where(struct, field)});`);
        });
        out.push(`${indent}  } else reader.offset = tagEnd;`, `${indent}}`);
        if (test !== 'true') out.push('  }');
      }
    }
    const members = struct.fields.map((field) =>
      localName(field) === field.name ? field.name : `${field.name}: ${localName(field)}`,
    );
    out.push(`  return { ${members.join(', ')} };`, '}', '');
  }

  private untaggedRange(struct: Struct, field: FieldDefinition): VersionRange {
    const present = piecesOf(struct.domain, (version) =>
      String(inRange(field.versions, version) && !this.taggedAt(field, version)),
    ).filter((piece) => piece.code === 'true');
    if (present.length !== 1) throw new Error(`${struct.typeName}.${field.name}: its versions have a gap`);
    return present[0]!.range;
  }

  // ---- sizes ----

  private inputCode(struct: Struct, field: FieldDefinition): string {
    if (this.isRequired(struct, field)) return `value.${field.name}`;
    return `value.${field.name} === undefined ? ${this.inputDefaultCode(field)} : value.${field.name}`;
  }

  /** Bytes of every value of a struct in this version, where they are always the same. */
  private fixedStructBytes(struct: Struct, version: number): number | undefined {
    let size = this.flexibleAt(version) ? 1 : 0;
    for (const field of struct.fields) {
      if (!inRange(field.versions, version)) continue;
      const bytes = this.fixedFieldBytes(field, version);
      if (bytes === undefined) return undefined;
      size += bytes;
    }
    return size;
  }

  private fixedFieldBytes(field: FieldDefinition, version: number): number | undefined {
    if (field.isArray || this.taggedAt(field, version)) return undefined;
    const struct = this.struct(field);
    if (struct === undefined) return fixedBytes[field.type];
    return inRange(field.nullable, version) ? undefined : this.fixedStructBytes(struct, version);
  }

  /** An expression for the bytes of the whole field, whose value is in `code` (null where the type allows it). */
  private sizeCode(field: FieldDefinition, version: number, code: string): string {
    const flexible = this.flexibleAt(version, field);
    const struct = this.struct(field);
    const orNull = (nullSize: number, size: string): string =>
      field.nullable === undefined ? size : `(${code} === null ? ${nullSize} : ${size})`;
    if (field.isArray) {
      const length = flexible ? `sizeOfUnsignedVarint(${code}.length + 1)` : '4';
      const each = struct === undefined ? fixedBytes[field.type] : this.fixedStructBytes(struct, version);
      const items = each === undefined ? `sizeOfItems` : `${code}.length * ${each}`;
      if (each === undefined)
        throw new Error(`${items}: a list of ${field.type} has no size in one expression`);
      return orNull(flexible ? 1 : 4, `${length} + ${items}`);
    }
    if (struct !== undefined) {
      const fixed = this.fixedStructBytes(struct, version);
      const size = fixed === undefined ? `sizeOf${struct.typeName}(${code}, version)` : String(fixed);
      return inRange(field.nullable, version)
        ? orNull(1, `1 + ${size}`)
        : field.nullable === undefined
          ? size
          : orNull(1, size);
    }
    switch (field.type) {
      case 'string':
        return orNull(flexible ? 1 : 2, flexible ? `compactStringSize(${code})` : `stringSize(${code})`);
      case 'bytes':
        return orNull(flexible ? 1 : 4, flexible ? `compactBytesSize(${code}.length)` : `4 + ${code}.length`);
      case 'records':
        return orNull(
          flexible ? 1 : 4,
          flexible ? `compactBytesSize(recordsSize(${code}))` : `4 + recordsSize(${code})`,
        );
      default:
        return String(fixedBytes[field.type]);
    }
  }

  /** Adds to `target` the bytes of the field over `domain`; `name` holds its value. */
  private emitAddSize(
    field: FieldDefinition,
    domain: VersionRange,
    name: string,
    target: string,
    indent: string,
  ): void {
    const { out } = this;
    const struct = this.struct(field);
    const perItem = piecesOf(domain, (version) => {
      if (!field.isArray) return 'none';
      const fixed = struct === undefined ? fixedBytes[field.type] : this.fixedStructBytes(struct, version);
      return fixed === undefined ? 'loop' : 'none';
    });
    if (perItem.every((piece) => piece.code === 'none')) {
      out.push(
        `${indent}${target} += ${choose(piecesOf(domain, (version) => this.sizeCode(field, version, name)))};`,
      );
      return;
    }
    const lengthSize = choose(
      piecesOf(domain, (version) =>
        this.flexibleAt(version, field) ? `sizeOfUnsignedVarint(${name}.length + 1)` : '4',
      ),
    );
    let inner = indent;
    if (field.nullable !== undefined) {
      const nullSize = choose(piecesOf(domain, (version) => (this.flexibleAt(version, field) ? '1' : '4')));
      out.push(`${indent}if (${name} === null) ${target} += ${nullSize};`, `${indent}else {`);
      inner += '  ';
    }
    out.push(`${inner}${target} += ${lengthSize};`);
    const one = choose(
      piecesOf(domain, (version) => {
        if (struct !== undefined) return `sizeOf${struct.typeName}(${name}[i]!, version)`;
        const { nullable: _nullable, ...single } = field;
        return this.sizeCode({ ...single, isArray: false }, version, `${name}[i]!`);
      }),
    );
    out.push(`${inner}for (let i = 0; i < ${name}.length; i += 1) ${target} += ${one};`);
    if (inner !== indent) out.push(`${indent}}`);
  }

  private emitSizeOf(struct: Struct): void {
    const { out } = this;
    const { domain } = struct;
    const untagged = this.untagged(struct);
    const tagged = this.tagged(struct);
    const flexible = intersect(domain, this.message.flexible);
    const fixed = choose(
      piecesOf(domain, (version) => {
        let size = this.flexibleAt(version) && tagged.length === 0 ? 1 : 0;
        for (const field of untagged) {
          if (inRange(field.versions, version)) size += this.fixedFieldBytes(field, version) ?? 0;
        }
        return String(size);
      }),
    );
    out.push(`function sizeOf${struct.typeName}(value: ${struct.typeName}Input, version: number): number {`);
    out.push(`  let size = ${fixed};`);
    for (const field of untagged) {
      const versions = this.untaggedRange(struct, field);
      const variable = piecesOf(versions, (version) =>
        String(this.fixedFieldBytes(field, version) === undefined),
      );
      if (variable.every((piece) => piece.code === 'false')) continue;
      if (variable.length > 1)
        throw new Error(`${struct.typeName}.${field.name} is of fixed size in some versions only`);
      const name = localName(field);
      const test = condition(versions, domain);
      const indent = test === 'true' ? '  ' : '    ';
      if (test !== 'true') out.push(`  if (${test}) {`);
      out.push(`${indent}const ${name} = ${this.inputCode(struct, field)};`);
      this.emitAddSize(field, versions, name, 'size', indent);
      if (test !== 'true') out.push('  }');
    }
    if (flexible !== undefined && tagged.length > 0) {
      const test = condition(flexible, domain);
      const indent = test === 'true' ? '  ' : '    ';
      if (test !== 'true') out.push(`  if (${test}) {`);
      out.push(`${indent}let tags = 0;`);
      for (const field of tagged) {
        const versions = intersect(flexible, field.tagged)!;
        const name = localName(field);
        const tagTest = condition(versions, flexible);
        let inner = indent;
        if (tagTest !== 'true') {
          out.push(`${indent}if (${tagTest}) {`);
          inner += '  ';
        }
        out.push(`${inner}const ${name} = value.${field.name};`);
        out.push(`${inner}if (${this.isSet(field, name)}) {`);
        out.push(`${inner}  tags += 1;`);
        this.emitTagSize(field, versions, name, `${inner}  `);
        out.push(
          `${inner}  size += ${sizeOfTag(field.tag!)} + sizeOfUnsignedVarint(${name}Size) + ${name}Size;`,
        );
        out.push(`${inner}}`);
        if (tagTest !== 'true') out.push(`${indent}}`);
      }
      out.push(`${indent}size += sizeOfUnsignedVarint(tags);`);
      if (test !== 'true') out.push('  }');
    }
    out.push('  return size;', '}', '');
  }

  /** Declares `<name>Size`, the bytes of a tagged field's value. */
  private emitTagSize(field: FieldDefinition, versions: VersionRange, name: string, indent: string): void {
    this.out.push(`${indent}let ${name}Size = 0;`);
    this.emitAddSize(field, versions, name, `${name}Size`, indent);
  }

  private holdsRecords(struct: Struct): boolean {
    return struct.fields.some((field) => {
      const nested = this.struct(field);
      return field.type === 'records' || (nested !== undefined && this.holdsRecords(nested));
    });
  }

  private emitReferencedSizeOf(struct: Struct): void {
    const { out } = this;
    out.push(
      `function referencedSizeOf${struct.typeName}(value: ${struct.typeName}Input, version: number): number {`,
    );
    out.push('  let size = 0;');
    for (const field of struct.fields) {
      const nested = this.struct(field);
      if (field.type !== 'records' && (nested === undefined || !this.holdsRecords(nested))) continue;
      const versions = intersect(struct.domain, field.versions);
      if (versions === undefined) continue;
      const test = condition(versions, struct.domain);
      const code = `value.${field.name}`;
      const there = `${code} !== undefined${field.nullable === undefined ? '' : ` && ${code} !== null`}`;
      const full = test === 'true' ? there : `${test} && ${there}`;
      if (field.isArray) {
        out.push(`  if (${full}) {`, `    const items = ${code};`);
        out.push(
          `    for (let i = 0; i < items.length; i += 1) size += referencedSizeOf${nested!.typeName}(items[i]!, version);`,
        );
        out.push('  }');
      } else {
        const size =
          nested === undefined
            ? `referencedSize(${code})`
            : `referencedSizeOf${nested.typeName}(${code}, version)`;
        out.push(`  if (${full}) size += ${size};`);
      }
    }
    out.push('  return size;', '}', '');
  }

  // ---- encoding ----

  private writeOne(
    field: FieldDefinition,
    version: number,
    nullable: boolean,
    code: string,
    where: string,
  ): string {
    // A type that allows null in some versions only: null in another is an error of the caller.
    const checked = !nullable && field.nullable !== undefined ? `writer.notNull(${code}, ${where})` : code;
    const struct = this.struct(field);
    if (struct !== undefined) return `encode${struct.typeName}(writer, ${checked}, version)`;
    const method = this.sizedMethod(field, version, nullable);
    if (field.type === 'records')
      return `writer.${this.flexibleAt(version, field) ? 'compactRecords' : 'records'}(${checked})`;
    const plain = field.type === 'bool' || field.type === 'float64' || field.type === 'bytes';
    return `writer.${method}(${checked}${plain ? '' : `, ${where}`})`;
  }

  /** Statements that write the field over `domain`; `name` holds its value. */
  private emitWrite(
    struct: Struct,
    field: FieldDefinition,
    domain: VersionRange,
    name: string,
    indent: string,
  ): void {
    const { out } = this;
    const where = this.where(struct, field);
    const emitPieces = (pieces: readonly Piece[], emitPiece: (code: string, inner: string) => void): void => {
      [...pieces].reverse().forEach((piece, index) => {
        if (pieces.length === 1) emitPiece(piece.code, indent);
        else {
          const last = index === pieces.length - 1;
          const test = last ? '' : `if (version >= ${piece.range.from}) `;
          out.push(`${indent}${index === 0 ? '' : '} else '}${test}{`);
          emitPiece(piece.code, `${indent}  `);
          if (last) out.push(`${indent}}`);
        }
      });
    };
    if (field.isArray) {
      emitPieces(
        piecesOf(domain, (version) =>
          this.flexibleAt(version, field) ? 'compactArrayLength' : 'arrayLength',
        ),
        (method, inner) => {
          if (field.nullable === undefined) out.push(`${inner}writer.${method}(${name}.length);`);
          else {
            const nullable = piecesOf(domain, (version) => String(inRange(field.nullable, version)));
            const someNot = nullable.find((piece) => piece.code === 'false');
            if (someNot !== undefined) {
              const notNullable = nullable.filter((piece) => piece.code === 'false');
              const test = notNullable.map((piece) => condition(piece.range, domain)).join(' || ');
              out.push(
                `${inner}if (${name} === null && (${test})) throw writer.unencodable(${where}, 'null');`,
              );
            }
            out.push(`${inner}writer.${method}(${name} === null ? -1 : ${name}.length);`);
          }
        },
      );
      const { nullable: _nullable, ...single } = field;
      const loop = (inner: string): void => {
        const pieces = piecesOf(domain, (version) =>
          this.writeOne({ ...single, isArray: false }, version, false, `${name}[i]!`, where),
        );
        out.push(`${inner}for (let i = 0; i < ${name}.length; i += 1) {`);
        [...pieces].reverse().forEach((piece, index) => {
          const last = index === pieces.length - 1;
          out.push(
            `${inner}  ${index === 0 ? '' : 'else '}${last ? '' : `if (version >= ${piece.range.from}) `}${piece.code};`,
          );
        });
        out.push(`${inner}}`);
      };
      if (field.nullable === undefined) loop(indent);
      else {
        out.push(`${indent}if (${name} !== null) {`);
        loop(`${indent}  `);
        out.push(`${indent}}`);
      }
      return;
    }
    if (this.struct(field) !== undefined) {
      emitPieces(
        piecesOf(domain, (version) => (inRange(field.nullable, version) ? 'nullable' : 'plain')),
        (kind, inner) => {
          const write = (code: string, nullable: boolean): string =>
            this.writeOne(field, domain.from, nullable, code, where);
          if (kind === 'plain') out.push(`${inner}${write(name, false)};`);
          else {
            out.push(`${inner}if (${name} === null) writer.int8(-1, ${where});`, `${inner}else {`);
            out.push(`${inner}  writer.int8(1, ${where});`, `${inner}  ${write(name, true)};`, `${inner}}`);
          }
        },
      );
      return;
    }
    emitPieces(
      piecesOf(domain, (version) =>
        this.writeOne(field, version, inRange(field.nullable, version), name, where),
      ),
      (code, inner) => out.push(`${inner}${code};`),
    );
  }

  private emitEncode(struct: Struct): void {
    const { out } = this;
    const { domain } = struct;
    out.push(
      `function encode${struct.typeName}(writer: ByteWriter, value: ${struct.typeName}Input, version: number): void {`,
    );
    const untagged = new Set(this.untagged(struct));
    for (const field of struct.fields) {
      const present = intersect(domain, field.versions);
      const name = localName(field);
      const where = this.where(struct, field);
      const absent = piecesOf(domain, (version) => String(inRange(field.versions, version))).filter(
        (piece) => piece.code === 'false',
      );
      const refuses = absent.length > 0 && !field.ignorable;
      if (!refuses && !untagged.has(field)) continue;
      const emitPresent = (versions: VersionRange, indent: string): void => {
        const simple = this.isRequired(struct, field) && field.nullable === undefined && !field.isArray;
        if (!simple) out.push(`${indent}const ${name} = ${this.inputCode(struct, field)};`);
        this.emitWrite(struct, field, versions, simple ? `value.${field.name}` : name, indent);
      };
      const emitRefusal = (indent: string): void => {
        out.push(`${indent}const ${name} = value.${field.name};`);
        out.push(`${indent}if (${this.isSet(field, name)}) throw writer.unencodable(${where}, ABSENT);`);
      };
      if (!untagged.has(field)) {
        const tests = absent.map((piece) => `(${condition(piece.range, domain)})`);
        out.push(present === undefined ? '  {' : `  if (${tests.join(' || ')}) {`);
        emitRefusal('    ');
        out.push('  }');
        continue;
      }
      const versions = this.untaggedRange(struct, field);
      const test = condition(versions, domain);
      if (test === 'true') {
        emitPresent(versions, '  ');
        continue;
      }
      out.push(`  if (${test}) {`);
      emitPresent(versions, '    ');
      if (refuses) {
        out.push('  } else {');
        emitRefusal('    ');
      }
      out.push('  }');
    }
    this.emitEncodeTags(struct);
    out.push('}', '');
  }

  private emitEncodeTags(struct: Struct): void {
    const { out } = this;
    const { domain } = struct;
    const flexible = intersect(domain, this.message.flexible);
    if (flexible === undefined) return;
    const tagged = this.tagged(struct);
    const test = condition(flexible, domain);
    const indent = test === 'true' ? '  ' : '    ';
    if (tagged.length === 0) {
      out.push(`  ${test === 'true' ? '' : `if (${test}) `}writer.unsignedVarint(0);`);
      return;
    }
    if (test !== 'true') out.push(`  if (${test}) {`);
    out.push(`${indent}let tags = 0;`);
    for (const field of tagged) {
      const name = localName(field);
      const versions = intersect(flexible, field.tagged)!;
      const tagTest = condition(versions, flexible);
      out.push(`${indent}const ${name} = value.${field.name};`);
      out.push(
        `${indent}const has${upperFirst(name)} = ${tagTest === 'true' ? '' : `${tagTest} && `}${this.isSet(field, name)};`,
      );
      out.push(`${indent}if (has${upperFirst(name)}) tags += 1;`);
    }
    out.push(`${indent}writer.unsignedVarint(tags);`);
    for (const field of tagged) {
      const name = localName(field);
      const versions = intersect(flexible, field.tagged)!;
      out.push(`${indent}if (has${upperFirst(name)}) {`);
      this.emitTagSize(field, versions, name, `${indent}  `);
      out.push(
        `${indent}  writer.unsignedVarint(${field.tag});`,
        `${indent}  writer.unsignedVarint(${name}Size);`,
      );
      this.emitWrite(struct, field, versions, name, `${indent}  `);
      out.push(`${indent}}`);
    }
    if (test !== 'true') out.push('  }');
  }

  // ---- the codec ----

  private emitCodec(hasRecords: boolean): void {
    const { message, out } = this;
    const { name, versions } = message;
    const isApi = message.kind === 'request' || message.kind === 'response';
    const check = `checkVersion('${name}', version, ${versions.from}, ${versions.to});`;
    if (!isApi && message.key >= 0) {
      out.push(`/** The type that leads the key of such a record, or the record itself. */`);
      out.push(`export const ${lowerFirst(name)}RecordType = ${message.key};`, '');
    }
    out.push(`export const ${lowerFirst(name)}: MessageCodec<${name}, ${name}Input> = {`);
    out.push(`  name: '${name}',`, `  apiKey: ${isApi ? message.key : -1},`);
    out.push(`  minVersion: ${versions.from},`, `  maxVersion: ${versions.to},`);
    out.push(`  flexibleFrom: ${message.flexible?.from ?? NEVER_FLEXIBLE},`);
    out.push('  decode(reader, version) {', `    ${check}`, `    reader.begin('${name}', version);`);
    out.push(`    return decode${name}(reader, version);`, '  },');
    out.push(
      '  sizeOf(value, version) {',
      `    ${check}`,
      `    return sizeOf${name}(value, version);`,
      '  },',
    );
    if (hasRecords) {
      out.push('  referencedSizeOf(value, version) {', `    ${check}`);
      out.push(`    return referencedSizeOf${name}(value, version);`, '  },');
    }
    out.push('  encode(writer, value, version) {', `    ${check}`, `    writer.begin('${name}', version);`);
    out.push(`    encode${name}(writer, value, version);`, '  },', '};', '');
  }
}

/** Drops functions that nothing calls and marks parameters that a function does not use. */
function tidy(code: string): string {
  const parts = code.split(/^(?=function )/m);
  const marked = parts.map((part) => {
    const match = /^(function \w+\()([^)]*)(\).*\{\n)([\s\S]*?\n\}\n)/.exec(part);
    if (match === null) return part;
    const body = match[4]!;
    const parameters = match[2]!.replace(/(\w+)(?=: )/g, (name) =>
      new RegExp(`(?<![.'\\w])${name}\\b(?!:)`).test(body) ? name : `_${name}`,
    );
    return `${match[1]}${parameters}${match[3]}${body}${part.slice(match[0].length)}`;
  });
  const whole = marked.join('');
  return marked
    .filter((part) => {
      const name = /^function (\w+)\(/.exec(part)?.[1];
      return name === undefined || whole.split(new RegExp(`\\b${name}\\(`)).length > 2;
    })
    .join('');
}

function sizeOfTag(tag: number): number {
  return tag < 0x80 ? 1 : tag < 0x4000 ? 2 : 3;
}
