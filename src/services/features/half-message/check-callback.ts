/**
 * Asks by HTTP what became of a half message: POST of a JSON text to the group's rmq.txn.check.url, answered with {"action": "commit" |
 * "rollback" | "unknown"}. Only origins of rmq.txn.check.url.allow are asked, redirects are not followed, and what takes too long is as if
 * it had not been asked: the next check comes anyway.
 */
import type { Log } from '../../../util/log.ts';
import type { AskedCheck } from './half-checks.ts';
import type { HalfDecisions } from './half-decisions.ts';
import { verdictOf } from './half-headers.ts';

/** The part of fetch that is needed. */
export type HttpPost = (
  url: string,
  request: {
    method: 'POST';
    headers: Record<string, string>;
    body: string;
    redirect: 'error';
    signal: AbortSignal;
  },
) => Promise<{ readonly ok: boolean; readonly status: number; text(): Promise<string> }>;

export interface CheckCallbackOptions {
  readonly decisions: Pick<HalfDecisions, 'perform'>;
  readonly log: Log;
  /** rmq.txn.check.url.allow, read at every use. */
  readonly allowed: () => readonly string[];
  readonly post?: HttpPost;
}

/** Questions under way; beyond it a check is left to the topic. */
const maxAtOnce = 64;
const timeoutMs = 5_000;
const longestAnswer = 4_096;

export class CheckCallback {
  private readonly options: CheckCallbackOptions;
  private readonly post: HttpPost;
  private readonly closing = new AbortController();
  private readonly underWay = new Set<Promise<void>>();
  /** Groups that were told of as not allowed, so that the log is not filled. */
  private readonly told = new Set<string>();
  asked = 0;
  failed = 0;

  constructor(options: CheckCallbackOptions) {
    this.options = options;
    this.post = options.post ?? ((url, request) => fetch(url, request));
  }

  ask(check: AskedCheck): void {
    if (this.closing.signal.aborted || this.underWay.size >= maxAtOnce) return;
    if (!isAllowed(check.url, this.options.allowed())) {
      if (this.told.has(check.id.producerGroup)) return;
      this.told.add(check.id.producerGroup);
      this.options.log.warn(
        { producerGroup: check.id.producerGroup, url: check.url },
        'checks are not sent there: its origin is not in rmq.txn.check.url.allow',
      );
      return;
    }
    const asking = this.askNow(check)
      .catch((error: unknown) => {
        this.failed++;
        this.options.log.warn(
          { producerGroup: check.id.producerGroup, error },
          'a check by HTTP was not answered',
        );
      })
      .finally(() => this.underWay.delete(asking));
    this.underWay.add(asking);
  }

  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all(this.underWay);
  }

  private async askNow({ id, url, times, topic, partition, bornMs, record }: AskedCheck): Promise<void> {
    this.asked++;
    const response = await this.post(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      redirect: 'error',
      signal: AbortSignal.any([this.closing.signal, AbortSignal.timeout(timeoutMs)]),
      body: JSON.stringify({
        producerGroup: id.producerGroup,
        txnId: id.txnId.toString('utf8'),
        checkTimes: times,
        topic,
        partition,
        bornMs,
        key: record.key?.toString('base64') ?? null,
        value: record.value?.toString('base64') ?? null,
        headers: (record.headers ?? []).map(({ key, value }) => ({
          key: key.toString(),
          value: value?.toString('base64') ?? null,
        })),
      }),
    });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    const text = await response.text();
    if (text.length > longestAnswer) throw new Error('its answer is too long');
    const { action } = JSON.parse(text) as { readonly action?: unknown };
    const verdict = typeof action === 'string' ? verdictOf(Buffer.from(action)) : undefined;
    if (verdict === undefined) throw new Error('its answer has no action commit, rollback or unknown');
    const { answers } = await this.options.decisions.perform([{ id, verdict }]);
    const [answer] = answers;
    if (answer?.outcome === 'refused') throw new Error(answer.message);
  }
}

/** By origin, exactly: scheme, host and port. */
export function isAllowed(url: string, allowed: readonly string[]): boolean {
  const origin = originOf(url);
  return origin !== undefined && allowed.some((each) => originOf(each) === origin);
}

function originOf(url: string): string | undefined {
  try {
    const { protocol, origin, username, password } = new URL(url);
    const isPlain = (protocol === 'http:' || protocol === 'https:') && username === '' && password === '';
    return isPlain ? origin : undefined;
  } catch {
    return undefined;
  }
}
