/** Our settings beside those of Apache Kafka 4.4 (kafka-settings.tsv, made by DumpSettings.java): names, types, defaults, update modes. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  BrokerConfig,
  brokerConfigDefinition,
  brokerConfigDefinitions,
} from '../../../src/services/configuration/broker-config.ts';
import {
  type ConfigDefinition,
  parseConfig,
  parseDefault,
} from '../../../src/services/configuration/config-definition.ts';
import { groupConfigDefinitions } from '../../../src/services/configuration/group-config.ts';
import {
  describeTopicConfig,
  topicConfigDefinitions,
} from '../../../src/services/configuration/topic-config.ts';

interface KafkaSetting {
  readonly kind: string;
  readonly name: string;
  readonly type: string;
  readonly defaultText: string | null;
  readonly last: string;
  /** Kafka's validator in its own words: [1,...], [0,...,1], [compact, delete]. */
  readonly limits: string;
}

const kafkas: readonly KafkaSetting[] = readFileSync(new URL('./kafka-settings.tsv', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [kind = '', name = '', type = '', text = '', last = '', limits = ''] = line.split('\t');
    return { kind, name, type, defaultText: text === '<none>' ? null : text, last, limits };
  });

function of(kind: string): readonly KafkaSetting[] {
  return kafkas.filter((each) => each.kind === kind);
}

/** Broker settings whose default is another one here, and why. */
const otherDefaults: Readonly<Record<string, string>> = {
  'controller.listener.names': 'required in Kafka',
  'group.coordinator.rebalance.protocols': 'the protocols that are served',
  'group.initial.rebalance.delay.ms': 'one broker is mostly for development, where three seconds are long',
  listeners: 'loopback until there is security',
  'log.dir': 'no files outside the directory it is started in',
  'metric.reporters': 'no Java class can run here',
  'node.id': 'required in Kafka',
  'process.roles': 'required in Kafka',
};

/** Changed while running in Kafka, fixed at start here: a listener is opened once. */
const fixedHere = ['listener.security.protocol.map', 'listeners'];

describe('broker settings', () => {
  it('are all that Kafka has, and our own', () => {
    const ours = brokerConfigDefinitions.map(({ name }) => name).filter((name) => !name.startsWith('rmq.'));
    expect(ours).toEqual(
      of('broker')
        .map(({ name }) => name)
        .sort(),
    );
  });

  it.each(of('broker'))('$name', ({ name, type, defaultText, last }) => {
    const definition = brokerConfigDefinition(name)!;
    expect(definition.type).toBe(type);
    if (name in otherDefaults) expect(parseDefault(definition).text).not.toBe(defaultText);
    else expect(parseDefault(definition).text).toBe(defaultText);
    expect(definition.update).toBe(fixedHere.includes(name) ? 'read-only' : last);
  });
});

describe('topic settings', () => {
  it('are all that Kafka has, and our own', () => {
    const ours = topicConfigDefinitions.map(({ name }) => name).filter((name) => !name.startsWith('rmq.'));
    expect(ours).toEqual(
      of('topic')
        .map(({ name }) => name)
        .sort(),
    );
  });

  const described = describeTopicConfig(new Map(), new BrokerConfig());
  it.each(of('topic'))('$name', ({ name, type, defaultText, last }) => {
    const entry = described.find(({ definition }) => definition.name === name)!;
    expect(entry.definition.type).toBe(type);
    expect(entry.text).toBe(defaultText);
    if (entry.synonyms.length > 0) expect(entry.synonyms[0]?.name).toBe(last);
  });
});

describe('group settings', () => {
  it('are all that Kafka has, and our own', () => {
    const shape = ({ name, type, defaultText }: Pick<ConfigDefinition, 'name' | 'type' | 'defaultText'>) => ({
      name,
      type,
      defaultText,
    });
    const ours = groupConfigDefinitions.filter(({ name }) => !name.startsWith('rmq.'));
    expect(ours.map(shape)).toEqual(of('group').map((each) => shape(each as unknown as ConfigDefinition)));
  });
});

describe('every default', () => {
  it.each([...brokerConfigDefinitions, ...topicConfigDefinitions, ...groupConfigDefinitions])(
    '$name is valid and documented',
    (definition) => {
      if (definition.defaultText !== null) {
        expect(parseConfig(definition, definition.defaultText)).toEqual(parseDefault(definition));
      }
      expect(definition.documentation).toMatch(/^[A-Z-].*\.$/);
    },
  );
});

const byKind: Readonly<Record<string, readonly ConfigDefinition[]>> = {
  broker: brokerConfigDefinitions,
  topic: topicConfigDefinitions,
  group: groupConfigDefinitions,
};
/** What a topic may have of these is less here: see topic-config.ts. */
const narrower = ['max.decompressed.message.bytes'];
/** A record of a share group may be delivered more often here, where the operator lets it. */
const wider: Readonly<Record<string, string>> = {
  'group.share.delivery.count.limit': '100',
  'group.share.max.delivery.count.limit': '100',
};

describe('numbers out of range', () => {
  const ranged = kafkas.flatMap(({ kind, name, limits }) => {
    const found = /^\[(-?\d+),\.\.\.(?:,(-?\d+))?\]$/.exec(limits);
    return found === null || narrower.includes(name)
      ? []
      : [{ kind, name, least: found[1]!, most: wider[name] ?? found[2] }];
  });

  it.each(ranged)('$kind $name', ({ kind, name, least, most }) => {
    const definition = byKind[kind]!.find((each) => each.name === name)!;
    const step = (text: string, by: bigint) => (BigInt(text) + by).toString();
    const refusal = (text: string, words: string) =>
      definition.type === 'DOUBLE'
        ? `Invalid value ${text}.0 for configuration ${name}: ${words}`
        : `Invalid value ${text} for configuration ${name}: ${words}`;
    expect(parseConfig(definition, least).value).toBe(Number(least));
    expect(() => parseConfig(definition, step(least, -1n))).toThrow(
      refusal(step(least, -1n), `Value must be at least ${least}`),
    );
    if (most === undefined) return;
    expect(parseConfig(definition, most).value).toBe(Number(most));
    expect(() => parseConfig(definition, step(most, 1n))).toThrow(
      refusal(step(most, 1n), `Value must be no more than ${most}`),
    );
  });

  it('leaves out what has no such limit in Kafka', () => {
    const free = kafkas.filter(
      ({ limits, type }) => limits === 'null' && ['INT', 'LONG', 'SHORT'].includes(type),
    );
    for (const { kind, name } of free) {
      const definition = byKind[kind]!.find((each) => each.name === name)!;
      expect(parseConfig(definition, '-7').value, name).toBe(-7);
    }
  });
});

describe('words', () => {
  const listed = kafkas.flatMap(({ kind, name, limits }) =>
    /^\[[A-Za-z_, ]+\]$/.test(limits) ? [{ kind, name, words: limits.slice(1, -1).split(', ') }] : [],
  );

  it.each(listed)('$kind $name', ({ kind, name, words }) => {
    const definition = byKind[kind]!.find((each) => each.name === name)!;
    for (const word of words) expect(parseConfig(definition, word).text).toBe(word);
    expect(() => parseConfig(definition, 'other')).toThrow(`String must be one of: ${words.join(', ')}`);
  });
});
