/** Our answers to the admin requests of admin-cases.ts beside those of Apache Kafka 4.3.0, in every field. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AdminBroker } from './admin-broker.ts';
import { adminCases } from './admin-cases.ts';
import { comparable } from './kafka-answers.ts';

const kafkas = new Map(
  readFileSync(new URL('./admin-answers.jsonl', import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as [string, unknown]),
);

const nullName = 'a name of null without an id is an invalid request; Kafka fails with an unknown error';
const collision = 'two new topics that collide in one request: Kafka creates both';

/** Where we mean to differ, and why. */
const deliberate: Readonly<Record<string, string>> = {
  'metadata v12 null name zero id': nullName,
  'metadata v13 null name zero id': nullName,
  'metadata v12 null name zero id and p1': nullName,
  'create multi error': 'the message says nothing of cordoned directories',
  'create collide in one': collision,
  'list resources topic': collision,
  'list resources v1 all': collision,
  'inc topic op 9':
    'an operation that does not exist is an invalid request; Kafka fails with an unknown error',
  'inc default per-broker': 'another message: there is no TLS to set up',
  'desc type 0': 'the message names the type',
  'desc type 99': 'the message names the type',
};

describe('admin answers beside those of Kafka 4.3.0', async () => {
  const broker = new AdminBroker({ 'node.id': '1' });
  const ours = new Map<string, unknown>();
  for (const [name, apiKey, apiVersion, request] of adminCases) {
    ours.set(name, comparable(await broker.call(apiKey, apiVersion, request)));
  }

  it('knows an answer of Kafka to every request', () => {
    expect(adminCases.filter(([name]) => !kafkas.has(name))).toEqual([]);
  });

  it.each(adminCases.map(([name]) => name))('%s', (name) => {
    if (name in deliberate) expect(ours.get(name)).not.toEqual(kafkas.get(name));
    else expect(ours.get(name)).toEqual(kafkas.get(name));
  });
});
