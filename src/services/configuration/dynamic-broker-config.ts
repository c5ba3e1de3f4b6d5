/**
 * The broker settings that are changed while running: kept in the engine's catalogue, by compare-and-set, one row for all brokers
 * and one for each broker. What may be changed so, and in which words it is refused, follows Kafka's DynamicBrokerConfig.
 */
import type { Catalogue } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import { type BrokerConfig, brokerConfigDefinition } from './broker-config.ts';
import { ConfigError, parseConfig } from './config-definition.ts';
import { applyConfigOperations, type ConfigOperation } from './config-operations.ts';
import { changeStoredValues, decodeValues, type StoredValues } from './stored-values.ts';

export type BrokerScope = 'all-brokers' | 'this-broker';

const keyPrefix = 'broker-config/';
const keyForAllBrokers = `${keyPrefix}default`;

export class DynamicBrokerConfig {
  private readonly catalogue: Catalogue;
  private readonly config: BrokerConfig;
  private readonly keyForThisBroker: string;
  private readonly stopWatching: () => void;
  private appliedVersions = '';

  /** Reads what is stored and puts it in force. */
  constructor(catalogue: Catalogue, config: BrokerConfig) {
    this.catalogue = catalogue;
    this.config = config;
    this.keyForThisBroker = `${keyPrefix}${config.int('node.id')}`;
    this.apply();
    this.stopWatching = catalogue.watch(() => this.apply());
  }

  close(): void {
    this.stopWatching();
  }

  /** IncrementalAlterConfigs of a BROKER resource. Undefined when done (or, with validateOnly, when it could be). */
  async change(
    scope: BrokerScope,
    operations: readonly ConfigOperation[],
    validateOnly: boolean,
  ): Promise<ApiError | undefined> {
    return this.write(scope, validateOnly, (current) =>
      applyConfigOperations(current, operations, {
        definition: brokerConfigDefinition,
        fallback: (name) => this.config.text(name),
        notAList: (operation, name) =>
          `Config value ${operation.toLowerCase()} is not allowed for config key: ${name}`,
      }),
    );
  }

  /** AlterConfigs of a BROKER resource: the values replace all that were set before. */
  async replace(
    scope: BrokerScope,
    values: ReadonlyMap<string, string>,
    validateOnly: boolean,
  ): Promise<ApiError | undefined> {
    return this.write(scope, validateOnly, () => values);
  }

  private async write(
    scope: BrokerScope,
    validateOnly: boolean,
    next: (current: StoredValues) => StoredValues | ApiError,
  ): Promise<ApiError | undefined> {
    const fault = await changeStoredValues(this.catalogue, {
      key: scope === 'all-brokers' ? keyForAllBrokers : this.keyForThisBroker,
      next,
      refusal: (before, after) => refusal(before, after, scope),
      validateOnly,
    });
    if (fault === undefined && !validateOnly) this.apply();
    return fault;
  }

  private apply(): void {
    const forAll = this.catalogue.get(keyForAllBrokers);
    const forThis = this.catalogue.get(this.keyForThisBroker);
    const versions = `${forAll?.version ?? 0}/${forThis?.version ?? 0}`;
    if (versions === this.appliedVersions) return;
    this.appliedVersions = versions;
    this.config.setDynamic(decodeValues(forAll?.value), decodeValues(forThis?.value));
  }
}

/** Why the values may not be set while running; only what differs from before is looked at. */
function refusal(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
  scope: BrokerScope,
): ApiError | undefined {
  const changed = [...after.keys()].filter((name) => after.get(name) !== before.get(name));
  const fixed = changed.filter((name) => {
    const definition = brokerConfigDefinition(name);
    return definition === undefined || definition.update === 'read-only' || definition.standing === 'absent';
  });
  if (fixed.length > 0) {
    return apiError('INVALID_REQUEST', `Cannot update these configs dynamically: [${fixed.join(', ')}]`);
  }
  if (scope === 'all-brokers') {
    const perBroker = changed.filter((name) => brokerConfigDefinition(name)?.update === 'per-broker');
    if (perBroker.length > 0) {
      return apiError(
        'INVALID_REQUEST',
        `Cannot update these configs at default cluster level, broker id must be specified: [${perBroker.join(', ')}]`,
      );
    }
  }
  for (const name of changed) {
    try {
      parseConfig(brokerConfigDefinition(name)!, after.get(name)!);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return apiError('INVALID_REQUEST', error.message);
    }
  }
  return undefined;
}
