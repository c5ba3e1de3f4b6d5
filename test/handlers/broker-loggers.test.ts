import { describe, expect, it } from 'vitest';
import { errorCodes } from '../../protocol/error-codes.ts';
import { changeLoggers, describeLoggers } from '../../src/handlers/broker-loggers.ts';
import { configOperations } from '../../src/services/configuration/config-operations.ts';
import { type Log, silentLog } from '../../src/util/log.ts';

const logAt = (level: Log['level']): Log => ({ ...silentLog, level });
const set = (name: string, value: string) => ({ name, operation: configOperations.SET, value });

describe('the BROKER_LOGGER resource', () => {
  it('shows the root logger and its level', () => {
    expect(describeLoggers(logAt('warn')).map(({ definition, text }) => [definition.name, text])).toEqual([
      ['root', 'WARN'],
    ]);
  });

  it('changes the level, but not when only validating', () => {
    const log = logAt('info');
    expect(changeLoggers(log, [set('root', 'DEBUG')], true)).toBeUndefined();
    expect(log.level).toBe('info');
    expect(changeLoggers(log, [set('root', 'DEBUG')], false)).toBeUndefined();
    expect(log.level).toBe('debug');
  });

  it('refuses unknown loggers, levels and operations, and changes nothing', () => {
    const log = logAt('info');
    expect(changeLoggers(log, [set('kafka', 'INFO')], false)?.code).toBe(errorCodes.INVALID_CONFIG);
    expect(changeLoggers(log, [set('root', 'LOUD')], false)?.code).toBe(errorCodes.INVALID_CONFIG);
    const append = { name: 'root', operation: configOperations.APPEND, value: 'INFO' };
    expect(changeLoggers(log, [append], false)?.code).toBe(errorCodes.INVALID_REQUEST);
    const remove = { name: 'root', operation: configOperations.DELETE, value: null };
    expect(changeLoggers(log, [remove], false)?.code).toBe(errorCodes.INVALID_REQUEST);
    expect(log.level).toBe('info');
  });
});
