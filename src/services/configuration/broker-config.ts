/**
 * The settings of the broker: every key that Kafka's brokers have (4.4) and our own, and the values in force. A value comes, in
 * this order, from: changed while running for this broker, changed while running for all brokers, given at start, the default.
 */

import { delayBrokerKeys } from '../features/delay/topic-keys.ts';
import { halfBrokerKeys } from '../features/half-message/topic-keys.ts';
import { retryGroupKeys } from '../features/retry/group-keys.ts';
import { shareGroupKeys } from '../share/group-keys.ts';
import { clusterKeys } from './broker-keys/cluster.ts';
import { groupKeys } from './broker-keys/groups.ts';
import { identityKeys } from './broker-keys/identity.ts';
import { ownKeys } from './broker-keys/own.ts';
import { securityKeys } from './broker-keys/security.ts';
import { topicKeys } from './broker-keys/topics.ts';
import {
  type ConfigDefinition,
  ConfigError,
  type ConfigSource,
  type ConfigType,
  configSources,
  type ParsedConfig,
  parseConfig,
  parseDefault,
} from './config-definition.ts';

const definitions = [
  ...identityKeys,
  ...topicKeys,
  ...groupKeys,
  ...clusterKeys,
  ...securityKeys,
  ...ownKeys,
  ...delayBrokerKeys,
  ...halfBrokerKeys,
  // What holds for groups that say nothing themselves.
  ...retryGroupKeys,
  ...shareGroupKeys,
] as const;

type Definition = (typeof definitions)[number];

/** Names of the broker settings of the types given: readers are checked when compiled. */
export type BrokerKey<Type extends ConfigType = ConfigType> = Extract<
  Definition,
  { readonly type: Type }
>['name'];

/** Every broker setting, in name order. */
export const brokerConfigDefinitions: readonly ConfigDefinition[] = [...definitions].sort((a, b) =>
  a.name < b.name ? -1 : 1,
);

const definitionByName = new Map<string, ConfigDefinition>(
  brokerConfigDefinitions.map((each) => [each.name, each]),
);

export function brokerConfigDefinition(name: string): ConfigDefinition | undefined {
  return definitionByName.get(name);
}

/**
 * Settings of which the first that has a value counts, as in Kafka (DynamicBrokerConfig.brokerConfigSynonyms). All other
 * settings are alone.
 */
const synonymFamilies: readonly (readonly string[])[] = [
  ['log.roll.ms', 'log.roll.hours'],
  ['log.roll.jitter.ms', 'log.roll.jitter.hours'],
  ['log.flush.interval.ms', 'log.flush.scheduler.interval.ms'],
  ['log.retention.ms', 'log.retention.minutes', 'log.retention.hours'],
];

/** The names whose values count for `name`, itself among them, the strongest first. */
export function brokerSynonyms(name: string): readonly string[] {
  return synonymFamilies.find((family) => family.includes(name)) ?? [name];
}

/** One value that stands (or would stand, were there no stronger one) for a setting. */
export interface ConfigSynonym {
  readonly name: string;
  readonly text: string;
  readonly source: ConfigSource;
}

/** Something to tell the operator about what was given at start. */
export interface ConfigRemark {
  readonly level: 'info' | 'warn';
  readonly key: string;
  readonly message: string;
}

/** Reads settings without being able to change them. What most services take. */
export interface BrokerSettings {
  int(name: BrokerKey<'INT' | 'SHORT'>): number;
  /** Infinity for Long.MAX_VALUE. */
  long(name: BrokerKey<'LONG'>): number;
  double(name: BrokerKey<'DOUBLE'>): number;
  boolean(name: BrokerKey<'BOOLEAN'>): boolean;
  string(name: BrokerKey<'STRING' | 'CLASS' | 'PASSWORD'>): string | null;
  list(name: BrokerKey<'LIST'>): readonly string[];
  /** Whether anything but the default gives the value. */
  isSet(name: BrokerKey): boolean;
  /** Calls back after a value changed while running. Returns how to stop. */
  onChanged(listener: (names: ReadonlySet<string>) => void): () => void;
}

export class BrokerConfig implements BrokerSettings {
  private readonly given = new Map<string, string>();
  private dynamicDefault: ReadonlyMap<string, string> = new Map();
  private dynamicBroker: ReadonlyMap<string, string> = new Map();
  private readonly effective = new Map<string, ParsedConfig>();
  private readonly listeners = new Set<(names: ReadonlySet<string>) => void>();
  /** What the operator should know of the values given. */
  readonly remarks: readonly ConfigRemark[];

  /** `given`: values given at start, by name. Unknown names are remarked on; throws ConfigError on the first bad value. */
  constructor(given: ReadonlyMap<string, string> = new Map()) {
    const remarks: ConfigRemark[] = [];
    for (const [name, text] of given) {
      const definition = definitionByName.get(name);
      if (definition === undefined) {
        remarks.push(strangerRemark(name));
        continue;
      }
      parseConfig(definition, text);
      this.given.set(name, text);
      const remark = standingRemark(definition, text);
      if (remark !== undefined) remarks.push(remark);
    }
    this.agreeOnNodeId();
    this.remarks = remarks;
    for (const definition of brokerConfigDefinitions)
      this.effective.set(definition.name, this.resolve(definition));
  }

  int(name: BrokerKey<'INT' | 'SHORT'>): number {
    return this.effective.get(name)?.value as number;
  }

  long(name: BrokerKey<'LONG'>): number {
    return this.effective.get(name)?.value as number;
  }

  double(name: BrokerKey<'DOUBLE'>): number {
    return this.effective.get(name)?.value as number;
  }

  boolean(name: BrokerKey<'BOOLEAN'>): boolean {
    return this.effective.get(name)?.value as boolean;
  }

  string(name: BrokerKey<'STRING' | 'CLASS' | 'PASSWORD'>): string | null {
    return this.effective.get(name)?.value as string | null;
  }

  list(name: BrokerKey<'LIST'>): readonly string[] {
    return (this.effective.get(name)?.value as readonly string[] | null) ?? [];
  }

  /** The value in force in canonical text; null where there is none. */
  text(name: string): string | null {
    return this.effective.get(name)?.text ?? null;
  }

  isSet(name: string): boolean {
    return this.given.has(name) || this.dynamicBroker.has(name) || this.dynamicDefault.has(name);
  }

  /**
   * The values that could stand for `name`, the one in force first, texts as they were given. Of a family only the weaker
   * members are there, and only where `name` itself was given a value (as in Kafka) or, with `orMember`, where one of them was.
   */
  synonyms(name: string, orMember = false): readonly ConfigSynonym[] {
    const whole = brokerSynonyms(name);
    const family = whole.slice(whole.indexOf(name));
    const found: ConfigSynonym[] = [];
    const layers = [
      [this.dynamicBroker, configSources.DYNAMIC_BROKER_CONFIG],
      [this.dynamicDefault, configSources.DYNAMIC_DEFAULT_BROKER_CONFIG],
      [this.given, configSources.STATIC_BROKER_CONFIG],
    ] as const;
    const counted = orMember || this.isSet(name) ? family : [name];
    for (const [layer, source] of layers) {
      for (const each of counted) {
        const text = layer.get(each);
        if (text !== undefined) found.push({ name: each, text, source });
      }
    }
    for (const each of found.length > 0 ? counted : [name]) {
      const definition = definitionByName.get(each);
      const text = definition === undefined ? null : parseDefault(definition).text;
      if (text !== null) found.push({ name: each, text, source: configSources.DEFAULT_CONFIG });
    }
    return found;
  }

  /** How long a topic keeps records where it says nothing itself; -1 for ever. */
  get retentionMs(): number {
    const given = this.firstOf([
      ['log.retention.ms', 1],
      ['log.retention.minutes', 60_000],
      ['log.retention.hours', 3_600_000],
    ]);
    return given < 0 ? -1 : given;
  }

  get rollMs(): number {
    return this.firstOf([
      ['log.roll.ms', 1],
      ['log.roll.hours', 3_600_000],
    ]);
  }

  get rollJitterMs(): number {
    return this.firstOf([
      ['log.roll.jitter.ms', 1],
      ['log.roll.jitter.hours', 3_600_000],
    ]);
  }

  /** Infinity where nothing asks for it. */
  get flushMs(): number {
    return this.firstOf([
      ['log.flush.interval.ms', 1],
      ['log.flush.scheduler.interval.ms', 1],
    ]);
  }

  /** What was changed while running: the two layers by name. Replaces both; tells the listeners what changed. */
  setDynamic(forAllBrokers: ReadonlyMap<string, string>, forThisBroker: ReadonlyMap<string, string>): void {
    this.dynamicDefault = forAllBrokers;
    this.dynamicBroker = forThisBroker;
    const changed = new Set<string>();
    for (const definition of brokerConfigDefinitions) {
      if (definition.update === 'read-only') continue;
      const before = this.effective.get(definition.name);
      const after = this.resolve(definition);
      if (before?.text === after.text) continue;
      this.effective.set(definition.name, after);
      changed.add(definition.name);
    }
    if (changed.size > 0) for (const listener of [...this.listeners]) listener(changed);
  }

  /** The values changed while running, by name, as they were given. */
  dynamic(scope: 'all-brokers' | 'this-broker'): ReadonlyMap<string, string> {
    return scope === 'all-brokers' ? this.dynamicDefault : this.dynamicBroker;
  }

  onChanged(listener: (names: ReadonlySet<string>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private resolve(definition: ConfigDefinition): ParsedConfig {
    for (const layer of [this.dynamicBroker, this.dynamicDefault, this.given]) {
      const text = layer.get(definition.name);
      if (text === undefined) continue;
      try {
        return parseConfig(definition, text);
      } catch (error) {
        // Stored by a version with other limits: the next layer counts, as if it were not there.
        if (!(error instanceof ConfigError) || layer === this.given) throw error;
      }
    }
    return parseDefault(definition);
  }

  private firstOf(units: readonly (readonly [string, number])[]): number {
    for (const [name, factor] of units) {
      const value = this.effective.get(name)?.value;
      if (typeof value === 'number') return value * factor;
    }
    return -1;
  }

  private agreeOnNodeId(): void {
    const nodeId = this.given.get('node.id');
    const brokerId = this.given.get('broker.id');
    if (nodeId !== undefined && brokerId !== undefined && Number(nodeId) !== Number(brokerId)) {
      throw new ConfigError(
        `You must set \`node.id\` to the same value as \`broker.id\`; they are ${nodeId} and ${brokerId}`,
      );
    }
    if (nodeId === undefined && brokerId !== undefined && Number(brokerId) >= 0)
      this.given.set('node.id', brokerId);
    else if (nodeId !== undefined) this.given.set('broker.id', nodeId);
  }
}

function strangerRemark(name: string): ConfigRemark {
  return { level: 'warn', key: name, message: `unknown setting ${name}: it has no effect` };
}

function standingRemark(definition: ConfigDefinition, text: string): ConfigRemark | undefined {
  if (
    definition.standing === 'served' ||
    parseConfig(definition, text).text === parseDefault(definition).text
  ) {
    return undefined;
  }
  return definition.standing === 'ignored'
    ? {
        level: 'info',
        key: definition.name,
        message: `${definition.name} is accepted and has no effect here`,
      }
    : {
        level: 'warn',
        key: definition.name,
        message: `${definition.name} asks for something that is not supported`,
      };
}
