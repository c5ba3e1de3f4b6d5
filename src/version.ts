/** What this program is, as its package says. */
import { readFileSync } from 'node:fs';

/** The version in package.json, which lies one folder above both the sources and the built files. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
