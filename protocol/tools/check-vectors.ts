// Checks files of vectors, messages and record sets alike, line by line and both ways. Prints every failure and a last line
// `N passed, N failed`; the exit code is 1 where something failed.
// Usage: npm run -s vectors -- FILE...   (a file that ends in .gz is unpacked)
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { checkRecordVector } from '../records/record-vectors.ts';
import { checkMessageVector, type MessageVector } from './message-vectors.ts';

function checkLine(line: string): { name: string; failures: string[] } {
  let vector: unknown;
  try {
    vector = JSON.parse(line);
  } catch (error) {
    return { name: 'line', failures: [`no JSON: ${error instanceof Error ? error.message : error}`] };
  }
  if (typeof vector !== 'object' || vector === null || Array.isArray(vector)) {
    return { name: 'line', failures: ['no JSON object'] };
  }
  if ('what' in vector) {
    const { what, magic, codec } = vector as Record<string, unknown>;
    return { name: `${what} magic ${magic} ${codec}`, failures: checkRecordVector(vector) };
  }
  const message = vector as MessageVector;
  if (typeof message.message !== 'string')
    return { name: 'line', failures: ['neither a message nor a record set'] };
  return { name: `${message.message} v${message.version}`, failures: checkMessageVector(message) };
}

function main(files: readonly string[]): void {
  if (files.length === 0) {
    console.error('usage: npm run -s vectors -- FILE...');
    process.exitCode = 2;
    return;
  }
  let passed = 0;
  let failed = 0;
  for (const file of files) {
    let text: string;
    try {
      const bytes = readFileSync(file);
      text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
    } catch (error) {
      console.log(`FAIL ${file}: ${error instanceof Error ? error.message : error}`);
      failed += 1;
      continue;
    }
    for (const [index, line] of text.split('\n').entries()) {
      if (line.trim() === '') continue;
      const { name, failures } = checkLine(line);
      if (failures.length === 0) passed += 1;
      else {
        failed += 1;
        for (const failure of failures) console.log(`FAIL ${file}:${index + 1} ${name}: ${failure}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

main(process.argv.slice(2));
