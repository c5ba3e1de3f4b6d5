/**
 * Asks by HTTP what became of a half message: POST of a JSON text to the group's rmq.txn.check.url, answered with {"action": "commit" |
 * "rollback" | "unknown"}. Only origins of rmq.txn.check.url.allow are asked, redirects are not followed, and what takes too long is as if
 * it had not been asked: the next check comes anyway. Remembers which groups' addresses do not answer, whose checks do not count.
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
) => Promise<Pick<Response, 'ok' | 'status' | 'body'>>;

/** What can be expected of an address: nothing, an answer, or, since it gave none the last time, perhaps one. */
export type CallbackStanding = 'not-allowed' | 'answers' | 'fails';

export interface CheckCallbackOptions {
  readonly decisions: Pick<HalfDecisions, 'perform'>;
  readonly log: Log;
  /** rmq.txn.check.url.allow, read at every use. */
  readonly allowed: () => readonly string[];
  readonly post?: HttpPost;
}

/** Questions under way; beyond it a check is left to the topic, or waits. */
const maxAtOnce = 64;
const timeoutMs = 5_000;
const longestAnswerBytes = 4_096;
/** Groups whose address does not answer, or may not be asked; the longest known are forgotten first. */
const maxKnown = 10_000;

export class CheckCallback {
  private readonly options: CheckCallbackOptions;
  private readonly post: HttpPost;
  private readonly closing = new AbortController();
  private readonly underWay = new Set<Promise<void>>();
  /** By group the address that did not answer the last time; each is told of once. */
  private readonly failing = new Map<string, string>();
  /** The same of those that are not allowed. */
  private readonly refused = new Map<string, string>();
  asked = 0;
  failed = 0;

  constructor(options: CheckCallbackOptions) {
    this.options = options;
    this.post = options.post ?? ((url, request) => fetch(url, request));
  }

  /** How many more may be asked now. */
  get room(): number {
    return this.closing.signal.aborted ? 0 : maxAtOnce - this.underWay.size;
  }

  standing(producerGroup: string, url: string): CallbackStanding {
    if (!isAllowed(url, this.options.allowed())) {
      if (isNews(this.refused, producerGroup, url)) {
        this.options.log.warn(
          { producerGroup, url },
          'checks are not sent there: its origin is not in rmq.txn.check.url.allow',
        );
      }
      return 'not-allowed';
    }
    this.refused.delete(producerGroup);
    return this.failing.get(producerGroup) === url ? 'fails' : 'answers';
  }

  ask(check: AskedCheck): void {
    const { url, id } = check;
    if (this.room <= 0 || !isAllowed(url, this.options.allowed())) return;
    const asking = this.askNow(check)
      .then(
        () => void this.failing.delete(id.producerGroup),
        (error: unknown) => {
          if (this.closing.signal.aborted) return;
          this.failed++;
          if (!isNews(this.failing, id.producerGroup, url)) return;
          this.options.log.warn(
            { producerGroup: id.producerGroup, error },
            'a check by HTTP was not answered; such checks do not count until one is',
          );
        },
      )
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
    const { action } = JSON.parse(await textOf(response.body)) as { readonly action?: unknown };
    const verdict = typeof action === 'string' ? verdictOf(Buffer.from(action)) : undefined;
    if (verdict === undefined) throw new Error('its answer has no action commit, rollback or unknown');
    // Where it was decided meanwhile the other way there is nothing left to say; what failed is asked again.
    await this.options.decisions.perform([{ id, verdict }]);
  }
}

/** At most so much of it is ever held. */
async function textOf(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body ?? []) {
    bytes += part.length;
    if (bytes > longestAnswerBytes) throw new Error('its answer is too long');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function isNews(known: Map<string, string>, producerGroup: string, url: string): boolean {
  if (known.get(producerGroup) === url) return false;
  known.set(producerGroup, url);
  for (const oldest of known.keys()) {
    if (known.size <= maxKnown) break;
    known.delete(oldest);
  }
  return true;
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
