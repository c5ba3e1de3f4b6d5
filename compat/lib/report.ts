/** The kept results, a JSON line a client, broker and form, and the table made from them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export interface ResultLine {
  readonly client: string;
  readonly broker: 'odradek' | 'kafka';
  readonly form: 'short' | 'long';
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly mustPass: number;
  readonly seconds: number;
  readonly date: string;
  readonly version: string;
}

export function readResults(path: string): Map<string, ResultLine> {
  const results = new Map<string, ResultLine>();
  if (!existsSync(path)) return results;
  for (const text of readFileSync(path, 'utf8').split('\n')) {
    if (text.trim() === '') continue;
    const line = JSON.parse(text) as ResultLine;
    results.set(`${line.client} ${line.broker} ${line.form}`, line);
  }
  return results;
}

export function writeReport(path: string, results: ReadonlyMap<string, ResultLine>): void {
  const clients = [...new Set([...results.values()].map((line) => line.client))].sort();
  const cell = (line: ResultLine | undefined): string =>
    line === undefined
      ? ''
      : `${line.passed} / ${line.passed + line.failed}${line.skipped > 0 ? ` (${line.skipped} skipped)` : ''}`;
  const rows = clients.map((client) => {
    const ours = results.get(`${client} odradek long`);
    const kafka = results.get(`${client} kafka long`);
    return `| [${client}](${client}/) | ${ours?.version ?? kafka?.version ?? ''} | ${cell(ours)} | ${ours?.mustPass ?? ''} | ${cell(kafka)} | ${ours?.seconds ?? ''} | ${ours?.date ?? ''} |`;
  });
  writeFileSync(
    path,
    `# Clients and suites

Written by \`npm run compat\`; do not edit. Passed / run, on Odradek and, where it was run, on Apache Kafka with the same script.
Each client's folder has its script, the list of what must pass, and findings for what does not.

| client | version | Odradek | must pass | Apache Kafka | seconds | run on |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`,
  );
}
