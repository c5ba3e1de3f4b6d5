/**
 * What a setting is: its name, Kafka type, default, limits and words, and how a text becomes a value. Follows Kafka's
 * ConfigDef to the letter where a client can see it (messages, canonical texts). Knows no particular setting.
 */

/** Kafka's config types; the codes are those of DescribeConfigs v3+ (ConfigType). */
export const configTypeCodes = {
  BOOLEAN: 1,
  STRING: 2,
  INT: 3,
  SHORT: 4,
  LONG: 5,
  DOUBLE: 6,
  LIST: 7,
  CLASS: 8,
  PASSWORD: 9,
} as const;

export type ConfigType = keyof typeof configTypeCodes;

/** Where a value comes from; the codes are those of DescribeConfigs v1+ (ConfigSource). */
export const configSources = {
  TOPIC_CONFIG: 1,
  DYNAMIC_BROKER_CONFIG: 2,
  DYNAMIC_DEFAULT_BROKER_CONFIG: 3,
  STATIC_BROKER_CONFIG: 4,
  DEFAULT_CONFIG: 5,
  DYNAMIC_BROKER_LOGGER_CONFIG: 6,
  CLIENT_METRICS_CONFIG: 7,
  GROUP_CONFIG: 8,
} as const;

export type ConfigSource = (typeof configSources)[keyof typeof configSources];

/**
 * A value as the code reads it. LONG is a number too: what no safe integer holds is Infinity or -Infinity (such values,
 * Long.MAX_VALUE above all, mean "no limit"); its exact text is kept beside it.
 */
export type ConfigValue = boolean | number | string | readonly string[];

/** `served`: honoured. `ignored`: has nothing to act on here, harmless. `absent`: asks for something that is not there. */
export type Standing = 'served' | 'ignored' | 'absent';

/** Kafka's update modes of a broker setting; topic and group settings are always dynamic. */
export type UpdateMode = 'read-only' | 'per-broker' | 'cluster-wide';

/** Undefined when the value may stand; else what is wrong, in Kafka's words. */
export type Validator = (value: ConfigValue | null, name: string) => string | undefined;

export interface ConfigDefinition<Name extends string = string, Type extends ConfigType = ConfigType> {
  readonly name: Name;
  readonly type: Type;
  /** In text, as Kafka shows it; null where there is no default. */
  readonly defaultText: string | null;
  readonly documentation: string;
  readonly validator?: Validator;
  readonly update: UpdateMode;
  readonly standing: Standing;
}

/** A value that was read: what the code uses and the canonical text that clients are shown. */
export interface ParsedConfig {
  readonly value: ConfigValue | null;
  readonly text: string | null;
}

/** A setting that cannot be what it was set to. The message is for the client or the operator. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export interface DefinitionOptions {
  readonly valid?: Validator;
  /** read-only unless said otherwise. */
  readonly update?: UpdateMode;
  /** served unless said otherwise. */
  readonly standing?: Standing;
}

/** Writes one definition down. The name and type are kept as literal types, so that readers are checked when compiled. */
export function define<const Name extends string, const Type extends ConfigType>(
  name: Name,
  type: Type,
  defaultValue: string | number | boolean | null,
  documentation: string,
  options: DefinitionOptions = {},
): ConfigDefinition<Name, Type> {
  return {
    name,
    type,
    defaultText: defaultValue === null ? null : String(defaultValue),
    documentation,
    ...(options.valid === undefined ? {} : { validator: options.valid }),
    update: options.update ?? 'read-only',
    standing: options.standing ?? 'served',
  };
}

/**
 * Reads a text as Kafka's ConfigDef.parseType does, then validates it. Throws ConfigError with Kafka's message
 * ("Invalid value x for configuration y: ..."). `null` means a null in the request.
 */
export function parseConfig(definition: ConfigDefinition, text: string | null): ParsedConfig {
  const parsed = readConfig(definition, text);
  const fault = definition.validator?.(parsed.value, definition.name);
  if (fault !== undefined) throw invalid(definition, parsed.text, fault);
  return parsed;
}

/** Reads a text without validating it: for values that were validated elsewhere. Throws ConfigError on what is no such type. */
export function readConfig(definition: ConfigDefinition, text: string | null): ParsedConfig {
  return text === null ? { value: null, text: null } : parseText(definition, text);
}

/** The default, read like any other text; defaults are not validated (Kafka's neither). */
export function parseDefault(definition: ConfigDefinition): ParsedConfig {
  return readConfig(definition, definition.defaultText);
}

function invalid(definition: ConfigDefinition, text: string | null, fault: string): ConfigError {
  const shown = definition.type === 'PASSWORD' && text !== null ? '[hidden]' : text;
  return new ConfigError(`Invalid value ${shown} for configuration ${definition.name}: ${fault}`);
}

const wholeNumber = /^[+-]?[0-9]+$/;
const decimalNumber = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?$/;

const integerLimits = {
  SHORT: [-(2n ** 15n), 2n ** 15n - 1n],
  INT: [-(2n ** 31n), 2n ** 31n - 1n],
  LONG: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;

function parseText(definition: ConfigDefinition, raw: string): ParsedConfig {
  const text = raw.trim();
  switch (definition.type) {
    case 'BOOLEAN': {
      const lower = text.toLowerCase();
      if (lower !== 'true' && lower !== 'false') {
        throw invalid(definition, raw, 'Expected value to be either true or false');
      }
      return { value: lower === 'true', text: lower };
    }
    case 'SHORT':
    case 'INT':
    case 'LONG': {
      const exact = wholeNumber.test(text) ? BigInt(text.replace('+', '')) : undefined;
      const [least, most] = integerLimits[definition.type];
      if (exact === undefined || exact < least || exact > most) {
        throw invalid(definition, raw, `Not a number of type ${definition.type}`);
      }
      return { value: asNumber(exact), text: exact.toString() };
    }
    case 'DOUBLE': {
      if (!decimalNumber.test(text)) throw invalid(definition, raw, 'Not a number of type DOUBLE');
      const value = Number(text.replace(/[fFdD]$/, ''));
      return { value, text: javaDoubleText(value) };
    }
    case 'LIST': {
      const items = text === '' ? [] : text.split(/\s*,\s*/);
      return { value: items, text: items.join(',') };
    }
    default:
      return { value: text, text };
  }
}

/** A LONG as a number: see ConfigValue. */
function asNumber(exact: bigint): number {
  const value = Number(exact);
  if (Number.isSafeInteger(value)) return value;
  return exact > 0n ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}

/** A double as Java's Double.toString writes it: 0.5, 1.0, 1.7976931348623157E308. */
export function javaDoubleText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
  const size = Math.abs(value);
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  if (size >= 1e-3 && size < 1e7) return Number.isInteger(value) ? `${value}.0` : String(value);
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  return `${mantissa.includes('.') ? mantissa : `${mantissa}.0`}E${Number(exponent)}`;
}

// ---- Validators, with the words of Kafka's ConfigDef ----

/** ConfigDef.Range.atLeast. */
export function atLeast(least: number): Validator {
  return (value) => {
    if (value === null) return 'Value must be non-null';
    return typeof value === 'number' && value < least ? `Value must be at least ${least}` : undefined;
  };
}

/** ConfigDef.Range.between, both ends allowed. */
export function between(least: number, most: number): Validator {
  return (value) => {
    if (value === null) return 'Value must be non-null';
    if (typeof value !== 'number') return undefined;
    if (value < least) return `Value must be at least ${least}`;
    return value > most ? `Value must be no more than ${most}` : undefined;
  };
}

/** ConfigDef.ValidString.in. */
export function oneOf(...allowed: readonly string[]): Validator {
  return (value) =>
    typeof value === 'string' && allowed.includes(value)
      ? undefined
      : `String must be one of: ${allowed.join(', ')}`;
}

/** ConfigDef.CaseInsensitiveValidString.in. */
export function oneOfAnyCase(...allowed: readonly string[]): Validator {
  return (value) =>
    typeof value === 'string' && allowed.includes(value.toUpperCase())
      ? undefined
      : `String must be one of (case insensitive): ${allowed.join(', ')}`;
}

/** ConfigDef.ValidList.in: every item is one of those. An empty list passes. */
export function listOf(...allowed: readonly string[]): Validator {
  return (value, name) => {
    if (!Array.isArray(value)) return undefined;
    const stranger = value.find((item) => !allowed.includes(item));
    if (stranger === undefined) return undefined;
    // Kafka names the item, not the list, as the value: parseConfig cannot, so the whole message is thrown here.
    throw new ConfigError(
      `Invalid value ${stranger} for configuration ${name}: String must be one of: ${allowed.join(', ')}`,
    );
  };
}

/** At least `least` items. */
export function listOfAtLeast(least: number): Validator {
  return (value) =>
    Array.isArray(value) && value.length < least
      ? 'Configuration must not be empty. Valid values include: any non-empty value'
      : undefined;
}
