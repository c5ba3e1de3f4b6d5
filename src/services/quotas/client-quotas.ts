/**
 * The quotas that operators have set (KIP-13, 124, 546, 599, 612): kept in the engine's catalogue, one row an entity, changed by
 * compare-and-set, and looked up for a client in Kafka's order of precedence. Measures nothing.
 */
import type { Catalogue } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import {
  type EntityPart,
  entityFromText,
  entityOf,
  entityText,
  entityTypes,
  keysOf,
  type QuotaEntity,
  type QuotaKey,
  valueFault,
} from './quota-entity.ts';

export type QuotaValues = ReadonlyMap<string, number>;

export interface QuotaRow {
  readonly entity: QuotaEntity;
  readonly values: QuotaValues;
}

export interface QuotaOperation {
  readonly key: string;
  readonly value: number;
  readonly remove: boolean;
}

export interface QuotaAlteration {
  readonly entity: readonly EntityPart[];
  readonly operations: readonly QuotaOperation[];
}

/** A limit, and who shares it: all clients with the same `meter` are measured together. */
export interface QuotaInForce {
  readonly limit: number;
  readonly meter: string;
}

const keyPrefix = 'client-quota/';
/** Another process may change the same rows between our look and our write. */
const maxAttempts = 20;
/** Look-ups kept; clients choose their ids, so all are thrown away when there are too many. */
const maxKnownClients = 10_000;

export class ClientQuotas {
  readonly #catalogue: Pick<Catalogue, 'get' | 'list' | 'update' | 'watch' | 'version'>;
  readonly #stopWatching: () => void;
  readonly #known = new Map<string, QuotaInForce | undefined>();
  #rows = new Map<string, QuotaRow>();
  #rowsVersions = '';
  #keysSet: ReadonlySet<string> = new Set();

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
    this.#load();
    this.#stopWatching = catalogue.watch(() => this.#load());
  }

  close(): void {
    this.#stopWatching();
  }

  /** True where anybody has such a quota. */
  has(key: QuotaKey): boolean {
    return this.#keysSet.has(key);
  }

  /** Every entity that has quotas, in the order of their names. */
  rows(): Iterable<QuotaRow> {
    return this.#rows.values();
  }

  /** The quota of a client, by the most specific entity that has this key. Undefined for no limit. */
  ofClient(key: QuotaKey, user: string, clientId: string): QuotaInForce | undefined {
    if (!this.#keysSet.has(key)) return undefined;
    const name = `${key}\0${user}\0${clientId}`;
    const known = this.#known.get(name);
    if (known !== undefined || this.#known.has(name)) return known;
    const found = this.#findForClient(key, user, clientId);
    if (this.#known.size >= maxKnownClients) this.#known.clear();
    this.#known.set(name, found);
    return found;
  }

  #findForClient(key: QuotaKey, user: string, clientId: string): QuotaInForce | undefined {
    const both = JSON.stringify([user, clientId]);
    const userAlone = JSON.stringify([user, '']);
    const idAlone = JSON.stringify(['', clientId]);
    const candidates: readonly [string | null | undefined, string | null | undefined, string][] = [
      [user, clientId, both],
      [user, null, both],
      [user, undefined, userAlone],
      [null, clientId, both],
      [null, null, both],
      [null, undefined, userAlone],
      [undefined, clientId, idAlone],
      [undefined, null, idAlone],
    ];
    for (const [userName, id, meter] of candidates) {
      const parts: [string, string | null][] = [];
      if (id !== undefined) parts.push([entityTypes.clientId, id]);
      if (userName !== undefined) parts.push([entityTypes.user, userName]);
      const limit = this.#rows.get(entityText(new Map(parts)))?.values.get(key);
      if (limit !== undefined) return { limit, meter };
    }
    return undefined;
  }

  /** connection_creation_rate of an address. */
  ofAddress(address: string): number | undefined {
    if (!this.#keysSet.has('connection_creation_rate')) return undefined;
    for (const name of [address, null]) {
      const limit = this.#rows
        .get(entityText(new Map([[entityTypes.ip, name]])))
        ?.values.get('connection_creation_rate');
      if (limit !== undefined) return limit;
    }
    return undefined;
  }

  /**
   * One answer for each alteration, in order: undefined where it is durably done, or with validateOnly could be. An entity that is
   * named twice is not changed.
   */
  async alter(
    alterations: readonly QuotaAlteration[],
    validateOnly: boolean,
  ): Promise<readonly (ApiError | undefined)[]> {
    const texts = alterations.map(({ entity }) => {
      const known = entityOf(entity);
      return 'code' in known ? undefined : entityText(known);
    });
    const repeated = new Set(texts.filter((text, at) => text !== undefined && texts.indexOf(text) !== at));
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const next = new Map<string, QuotaValues>();
      const answers = alterations.map((alteration) => {
        const prepared = this.#prepare(alteration);
        if ('code' in prepared) return prepared;
        if (repeated.has(prepared.text)) return repeatedError(entityFromText(prepared.text));
        next.set(prepared.text, prepared.values);
        return undefined;
      });
      if (validateOnly || next.size === 0) return answers;
      const changes = [...next].map(([text, values]) => {
        const key = keyPrefix + text;
        const value = values.size === 0 ? null : Buffer.from(JSON.stringify([...values]));
        return { key, expectedVersion: this.#catalogue.get(key)?.version ?? 0, value };
      });
      const result = await this.#catalogue.update({ changes });
      if (result.outcome === 'done') {
        this.#load();
        return answers;
      }
    }
    const error = apiError('REQUEST_TIMED_OUT', 'The quotas are being changed by others; try again.');
    return alterations.map(() => error);
  }

  /** The entity's values after the operations, all or none. */
  #prepare({
    entity: parts,
    operations,
  }: QuotaAlteration): ApiError | { readonly text: string; readonly values: QuotaValues } {
    const entity = entityOf(parts);
    if ('code' in entity) return entity;
    const keys = keysOf(entity);
    if ('code' in keys) return keys;
    if (new Set(operations.map(({ key }) => key)).size < operations.length) return repeatedError(entity);
    const text = entityText(entity);
    const values = new Map(this.#stored(text));
    for (const { key, value, remove } of operations) {
      if (remove) {
        values.delete(key);
        continue;
      }
      const fault = valueFault(keys, key, value);
      if (fault !== undefined) return fault;
      values.set(key, value);
    }
    return { text, values };
  }

  #stored(text: string): QuotaValues {
    const row = this.#catalogue.get(keyPrefix + text);
    return row === undefined ? none : decode(row.value);
  }

  #load(): void {
    const entries = this.#catalogue.list(keyPrefix);
    const versions = entries.map(({ key, version }) => `${version} ${key}`).join('\n');
    if (versions === this.#rowsVersions) return;
    this.#rowsVersions = versions;
    this.#known.clear();
    this.#rows = new Map(
      entries.map(({ key, value }) => {
        const text = key.slice(keyPrefix.length);
        return [text, { entity: entityFromText(text), values: decode(value) }];
      }),
    );
    this.#keysSet = new Set([...this.#rows.values()].flatMap(({ values }) => [...values.keys()]));
  }
}

/** Of one key that is named twice too, in Kafka's words. */
function repeatedError(entity: QuotaEntity): ApiError {
  const shown = [...entity].map(([type, name]) => `${type}=${name}`).join(', ');
  return apiError('INVALID_REQUEST', `Ignoring duplicate entity ClientQuotaEntity(entries={${shown}})`);
}

const none: QuotaValues = new Map();

function decode(value: Buffer): QuotaValues {
  return new Map(JSON.parse(value.toString()) as [string, number][]);
}
