// Writes protocol/messages/ from the official jars: run it when a new Kafka release is out, then read the difference.
// Usage: node scripts/run-ts.mjs protocol/tools/import-definitions.ts
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type DefinitionFile, definitionFileName, type MessageDefinition } from '../generator/definition.ts';
import { formatDefinitions, parseDefinitions } from '../generator/notation.ts';
import { loadKafkaDefinitions } from './kafka-definitions.ts';

function toFiles(messages: ReadonlyMap<string, MessageDefinition>): DefinitionFile[] {
  const files: DefinitionFile[] = [];
  for (const message of messages.values()) {
    if (message.kind === 'response') continue;
    if (message.kind !== 'request') {
      files.push({ messages: [message] });
      continue;
    }
    const apiName = message.name.replace(/Request$/, '');
    const response = messages.get(`${apiName}Response`);
    if (response === undefined) throw new Error(`${message.name} has no response`);
    files.push({ apiName, messages: [message, response] });
  }
  return files;
}

function main(): void {
  const output = resolve('protocol/messages');
  const definitions = loadKafkaDefinitions(resolve('.cache/jars'));
  mkdirSync(output, { recursive: true });
  for (const name of readdirSync(output)) if (name.endsWith('.msg')) rmSync(join(output, name));
  for (const file of toFiles(definitions)) {
    const name = `${definitionFileName(file)}.msg`;
    const text = formatDefinitions(file);
    parseDefinitions(text, name);
    writeFileSync(join(output, name), text);
  }
  console.log(`${definitions.size} messages written to ${output}`);
}

main();
