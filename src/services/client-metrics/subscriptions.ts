/**
 * The subscriptions to client metrics that operators have made: kept in the engine's catalogue, one row each, changed by
 * compare-and-set. A subscription is there while it sets anything.
 */
import type { Catalogue } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import { applyConfigOperations, type ConfigOperation } from '../configuration/config-operations.ts';
import { changeStoredValues, decodeValues, type StoredValues } from '../configuration/stored-values.ts';
import {
  describeSubscription,
  type Subscription,
  type SubscriptionEntry,
  subscriptionFault,
  subscriptionOf,
} from './subscription-config.ts';

const keyPrefix = 'client-metrics-config/';
/** Every client is held against every subscription. */
const maxSubscriptions = 1000;

export class Subscriptions {
  readonly #catalogue: Catalogue;
  readonly #stopWatching: () => void;
  #all: readonly Subscription[] = [];
  #rowsVersions = '';
  #version = 0;

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
    this.#load();
    this.#stopWatching = catalogue.watch(() => this.#load());
  }

  close(): void {
    this.#stopWatching();
  }

  /** In name order. */
  get all(): readonly Subscription[] {
    return this.#all;
  }

  /** Grows with every change. */
  get version(): number {
    return this.#version;
  }

  /** One that is not there has the defaults. */
  describe(name: string): readonly SubscriptionEntry[] {
    return describeSubscription(decodeValues(this.#catalogue.get(keyPrefix + name)?.value));
  }

  /** IncrementalAlterConfigs of a CLIENT_METRICS resource. Undefined when done (or, with validateOnly, when it could be). */
  change(
    name: string,
    operations: readonly ConfigOperation[],
    validateOnly: boolean,
  ): Promise<ApiError | undefined> {
    return this.#write(name, validateOnly, (current) =>
      applyConfigOperations(current, operations, {
        // Kafka appends to none of them, lists or not.
        definition: () => undefined,
        fallback: () => null,
        notAList: (operation, key) => `Can't ${operation} to key ${key} because its type is not LIST.`,
      }),
    );
  }

  /** AlterConfigs: the values replace all that were set before. */
  replace(name: string, values: StoredValues, validateOnly: boolean): Promise<ApiError | undefined> {
    return this.#write(name, validateOnly, () => values);
  }

  async #write(
    name: string,
    validateOnly: boolean,
    next: (current: StoredValues) => StoredValues | ApiError,
  ): Promise<ApiError | undefined> {
    const key = keyPrefix + name;
    const fault = await changeStoredValues(this.#catalogue, {
      key,
      next,
      validateOnly,
      refusal: (_before, after) => {
        if (this.#all.length >= maxSubscriptions && this.#catalogue.get(key) === undefined) {
          return apiError('POLICY_VIOLATION', `There may be ${maxSubscriptions} subscriptions.`);
        }
        return subscriptionFault(after);
      },
    });
    if (fault === undefined && !validateOnly) this.#load();
    return fault;
  }

  #load(): void {
    const entries = this.#catalogue.list(keyPrefix);
    const versions = entries.map(({ key, version }) => `${version} ${key}`).join('\n');
    if (versions === this.#rowsVersions) return;
    this.#rowsVersions = versions;
    this.#version += 1;
    this.#all = entries.map(({ key, value }) =>
      subscriptionOf(key.slice(keyPrefix.length), decodeValues(value)),
    );
  }
}
