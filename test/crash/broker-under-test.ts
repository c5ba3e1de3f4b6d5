/**
 * The broker as the crash tests run it: the program loads and waits for a line `go KILL-POINT` on its input, then starts as `odradek`
 * does. It dies with the test that started it.
 */
import '../../src/gateway/gateway.ts';
import '../../src/storage/embedded/embedded-engine.ts';
import { armKillPoint } from './kill-points.ts';

process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL'));
const line = await new Promise<string>((resolve) => {
  let text = '';
  process.stdin.setEncoding('utf8').on('data', (part: string) => {
    text += part;
    if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
  });
});
armKillPoint(line.slice('go '.length));
await import('../../src/main.ts');
