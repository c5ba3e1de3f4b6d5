import { describe, expect, it } from 'vitest';
import { createLog } from '../../src/telemetry/log.ts';

function lines(readable: boolean, level: 'debug' | 'info' | 'warn' = 'info') {
  const written: string[] = [];
  return { written, log: createLog({ level, readable, write: (line) => written.push(line) }) };
}

describe('the log', () => {
  it('writes one JSON object a line, with the component', () => {
    const { written, log } = lines(false);
    log.component('storage').warn({ topic: 't', partition: 3 }, 'slow');
    expect(written.length).toBe(1);
    const entry = JSON.parse(written[0]!) as Record<string, unknown>;
    expect(entry).toMatchObject({
      level: 'warn',
      component: 'storage',
      topic: 't',
      partition: 3,
      msg: 'slow',
    });
    expect(entry.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('writes lines for people where asked, with the stack of an error', () => {
    const { written, log } = lines(true);
    log.info({ 'client.id': 'a' }, 'hello');
    log.error({ error: new Error('disk') }, 'failed');
    expect(written[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}hello {2}client\.id=a\n$/);
    expect(written[1]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} ERROR failed\nError: disk\n {4}at /);
  });

  it('shows nothing below its level, also where that changes later', () => {
    const { written, log } = lines(false, 'warn');
    const part = log.component('part');
    part.info({}, 'no');
    log.level = 'debug';
    part.debug({}, 'yes');
    expect(written.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['yes']);
  });
});
