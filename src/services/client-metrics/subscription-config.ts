/**
 * The settings of a subscription to client metrics (resource type CLIENT_METRICS, KIP-714): which metrics, how often, of which clients.
 * Checks are those of Kafka's ClientMetricsConfigs, in its words.
 */
import { linearPattern } from '../../util/linear-pattern.ts';
import { type ApiError, apiError } from '../api-error.ts';
import type { ConfigSynonym } from '../configuration/broker-config.ts';
import {
  type ConfigDefinition,
  ConfigError,
  type ConfigSource,
  configSources,
  define,
  parseDefault,
  readConfig,
} from '../configuration/config-definition.ts';

const dynamic = { update: 'cluster-wide' } as const;
const leastIntervalMs = 100;
const mostIntervalMs = 3_600_000;
export const defaultIntervalMs = 300_000;

export const subscriptionDefinitions: readonly ConfigDefinition[] = [
  define('interval.ms', 'INT', defaultIntervalMs, 'How often clients push, in milliseconds.', dynamic),
  define(
    'match',
    'LIST',
    '',
    'Which clients: NAME=PATTERN, all of them must match; empty for every client.',
    dynamic,
  ),
  define('metrics', 'LIST', '', 'Prefixes of the names of metrics; * for all.', dynamic),
];

const definitionByName = new Map(subscriptionDefinitions.map((each) => [each.name, each]));

/** What a pattern may speak of. */
export const matchNames = [
  'client_id',
  'client_instance_id',
  'client_software_name',
  'client_software_version',
  'client_source_address',
  'client_source_port',
] as const;
export type MatchName = (typeof matchNames)[number];

export interface Subscription {
  readonly name: string;
  readonly metrics: readonly string[];
  readonly intervalMs: number;
  matches(client: Readonly<Record<MatchName, string>>): boolean;
}

/** Why the values may not stand. */
export function subscriptionFault(values: ReadonlyMap<string, string>): ApiError | undefined {
  for (const name of values.keys()) {
    if (!definitionByName.has(name)) {
      return apiError('INVALID_REQUEST', `Unknown client metrics configuration: ${name}`);
    }
  }
  try {
    const interval = values.get('interval.ms');
    if (interval !== undefined) {
      const intervalMs = readConfig(definitionByName.get('interval.ms')!, interval).value as number;
      if (intervalMs < leastIntervalMs || intervalMs > mostIntervalMs) {
        return apiError(
          'INVALID_REQUEST',
          `Invalid value ${intervalMs} for interval.ms, interval must be between 100 and 3600000 (1 hour)`,
        );
      }
    }
    for (const part of listOf(values, 'match')) {
      if (testOf(part) === undefined) {
        return apiError('INVALID_CONFIG', `Illegal client matching pattern: ${part}`);
      }
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return apiError('INVALID_CONFIG', error.message);
  }
}

/** A subscription from values that may stand. */
export function subscriptionOf(name: string, values: ReadonlyMap<string, string>): Subscription {
  const tests = listOf(values, 'match').flatMap((part) => testOf(part) ?? []);
  const interval = readConfig(definitionByName.get('interval.ms')!, values.get('interval.ms') ?? null).value;
  return {
    name,
    metrics: listOf(values, 'metrics'),
    intervalMs: interval === null ? defaultIntervalMs : (interval as number),
    matches: (client) => tests.every(({ of, matches }) => matches(client[of])),
  };
}

/** A subscription as DescribeConfigs shows it. */
export interface SubscriptionEntry {
  readonly definition: ConfigDefinition;
  readonly text: string | null;
  readonly source: ConfigSource;
  readonly synonyms: readonly ConfigSynonym[];
}

export function describeSubscription(values: ReadonlyMap<string, string>): readonly SubscriptionEntry[] {
  return subscriptionDefinitions.map((definition) => {
    const own = values.get(definition.name);
    const source = own === undefined ? configSources.DEFAULT_CONFIG : configSources.CLIENT_METRICS_CONFIG;
    const text = own ?? parseDefault(definition).text;
    const synonyms = own === undefined || text === null ? [] : [{ name: definition.name, text, source }];
    return { definition, text, source, synonyms };
  });
}

function listOf(values: ReadonlyMap<string, string>, name: string): readonly string[] {
  const text = values.get(name);
  return text === undefined ? [] : (readConfig(definitionByName.get(name)!, text).value as readonly string[]);
}

function testOf(part: string): { of: MatchName; matches: (text: string) => boolean } | undefined {
  const at = part.indexOf('=');
  if (at < 0) return undefined;
  const of = matchNames.find((name) => name === part.slice(0, at).trim());
  const pattern = part.slice(at + 1).trim();
  const matches = pattern === '' ? 'invalid' : linearPattern(pattern);
  return of === undefined || matches === 'invalid' ? undefined : { of, matches };
}
