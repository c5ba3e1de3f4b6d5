// Compares protocol/messages/ with the definitions in the official jars, field by field: type, versions, nullability, tag, default,
// ignorable, flexible versions. Fetches the jars with `mvn` into .cache/jars. Prints every difference and a last line
// `N passed, N failed` (messages); the exit code is 1 where something differs.
// Usage: node scripts/run-ts.mjs protocol/tools/check-definitions.ts
import { resolve } from 'node:path';
import type { FieldDefinition, MessageDefinition } from '../generator/definition.ts';
import { readDefinitions } from '../generator/generate.ts';
import { formatRange } from '../generator/notation.ts';
import { loadKafkaDefinitions } from './kafka-definitions.ts';

type Facts = ReadonlyMap<string, string>;

/** Every fact of a message, flat: place and kind of fact to its text. */
function factsOf(message: MessageDefinition): Facts {
  const facts = new Map<string, string>();
  facts.set('kind', message.kind);
  facts.set('key', String(message.key));
  facts.set('versions', formatRange(message.versions));
  facts.set('flexible', message.flexible === undefined ? 'none' : formatRange(message.flexible));
  facts.set('unstable from', message.unstableFrom === undefined ? 'none' : String(message.unstableFrom));
  addFields(facts, '', message.fields);
  facts.set('common structs', message.commonStructs.map((struct) => struct.name).join(' '));
  for (const struct of message.commonStructs) {
    facts.set(`${struct.name} versions`, formatRange(struct.versions));
    addFields(facts, `${struct.name}.`, struct.fields);
  }
  return facts;
}

function addFields(facts: Map<string, string>, path: string, fields: readonly FieldDefinition[]): void {
  facts.set(`${path}* order`, fields.map((field) => field.name).join(' '));
  for (const field of fields) {
    const place = `${path}${field.name}`;
    facts.set(`${place} type`, `${field.isArray ? '[]' : ''}${field.type}`);
    facts.set(`${place} versions`, formatRange(field.versions));
    facts.set(`${place} nullable`, field.nullable === undefined ? 'never' : formatRange(field.nullable));
    facts.set(
      `${place} tag`,
      field.tag === undefined ? 'none' : `${field.tag} in ${formatRange(field.tagged!)}`,
    );
    facts.set(`${place} default`, field.default === undefined ? 'none' : JSON.stringify(field.default));
    facts.set(`${place} ignorable`, String(field.ignorable));
    facts.set(`${place} never flexible`, String(field.neverFlexible));
    if (field.fields !== undefined) addFields(facts, `${place}.`, field.fields);
  }
}

/** What differs between our definition and Kafka's, in words. */
export function compareMessages(ours: MessageDefinition, theirs: MessageDefinition): string[] {
  const differences: string[] = [];
  const left = factsOf(ours);
  const right = factsOf(theirs);
  for (const fact of new Set([...left.keys(), ...right.keys()])) {
    const a = left.get(fact) ?? 'absent';
    const b = right.get(fact) ?? 'absent';
    if (a !== b) differences.push(`${ours.name} ${fact}: ours ${a}, Kafka's ${b}`);
  }
  return differences;
}

function main(): void {
  const ours = new Map(
    readDefinitions(resolve('protocol/messages')).flatMap((file) =>
      file.messages.map((message) => [message.name, message] as const),
    ),
  );
  const theirs = loadKafkaDefinitions(resolve('.cache/jars'));
  let passed = 0;
  let failed = 0;
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const left = ours.get(name);
    const right = theirs.get(name);
    const differences =
      left === undefined
        ? [`${name}: not in protocol/messages`]
        : right === undefined
          ? [`${name}: not in Kafka's jars`]
          : compareMessages(left, right);
    for (const difference of differences) console.log(`FAIL ${difference}`);
    if (differences.length === 0) passed += 1;
    else failed += 1;
  }
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

main();
