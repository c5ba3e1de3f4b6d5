import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { errorCodes, errorName, isRetriable } from '../../protocol/error-codes.ts';

interface KafkaError {
  readonly code: number;
  readonly name: string;
  readonly retriable: boolean;
}

// Written by the official Java client, see test/vectors/generator/.
const kafkaErrors = JSON.parse(readFileSync('test/vectors/errors.json', 'utf8')) as KafkaError[];

describe('error codes', () => {
  it("are Kafka's, all of them", () => {
    const ours = Object.entries(errorCodes).map(([name, code]) => ({
      code,
      name,
      retriable: isRetriable(code),
    }));
    expect(ours.sort((a, b) => a.code - b.code)).toEqual(kafkaErrors.sort((a, b) => a.code - b.code));
  });

  it('have names for logs', () => {
    expect(errorName(errorCodes.NOT_COORDINATOR)).toBe('NOT_COORDINATOR');
    expect(errorName(9999)).toBe('ERROR_9999');
  });
});
