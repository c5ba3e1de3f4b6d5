/**
 * The settings that groups have of their own: kept in the engine's catalogue, one row a group, changed by compare-and-set. A group need
 * not exist to have settings, as in Kafka.
 */
import type { Catalogue } from '../../storage/engine.ts';
import { type ApiError, apiError } from '../api-error.ts';
import type { BrokerConfig } from './broker-config.ts';
import { ConfigError, type ConfigValue } from './config-definition.ts';
import { applyConfigOperations, type ConfigOperation, isApiError } from './config-operations.ts';
import {
  checkGroupOverrides,
  describeGroupConfig,
  type GroupConfigEntry,
  groupConfigDefinition,
  groupDefault,
  groupSetting,
} from './group-config.ts';
import { changeStoredValues, decodeValues, type StoredValues } from './stored-values.ts';

const keyPrefix = 'group-config/';

/** What is asked of a group's settings, in force or about to be. */
export type GroupSettingValues = Pick<GroupConfigs, 'value' | 'overrides' | 'groups'>;

/** What was read of a row, until the row changes. */
interface ReadRow {
  readonly version: number;
  readonly values: StoredValues;
}

export class GroupConfigs {
  private readonly catalogue: Catalogue;
  private readonly broker: BrokerConfig;
  private readonly rows = new Map<string, ReadRow>();
  private readonly listeners = new Set<() => void>();
  private readonly stopWatching: () => void;

  constructor(catalogue: Catalogue, broker: BrokerConfig) {
    this.catalogue = catalogue;
    this.broker = broker;
    this.stopWatching = catalogue.watch(() => {
      for (const listener of this.listeners) listener();
    });
  }

  close(): void {
    this.stopWatching();
    this.listeners.clear();
  }

  /** Groups that have settings of their own, in name order. */
  groups(): readonly string[] {
    return this.catalogue.list(keyPrefix).map(({ key }) => key.slice(keyPrefix.length));
  }

  /** What the group sets itself. */
  overrides(group: string): StoredValues {
    const stored = this.catalogue.get(keyPrefix + group);
    if (stored === undefined) {
      this.rows.delete(group);
      return none;
    }
    const known = this.rows.get(group);
    if (known?.version === stored.version) return known.values;
    const values = decodeValues(stored.value);
    this.rows.set(group, { version: stored.version, values });
    return values;
  }

  /** The value in force; the name must be that of a group setting. */
  value(group: string, name: string): ConfigValue | null {
    return groupSetting(name, this.overrides(group), this.broker).value;
  }

  int(group: string, name: string): number {
    return this.value(group, name) as number;
  }

  boolean(group: string, name: string): boolean {
    return this.value(group, name) as boolean;
  }

  string(group: string, name: string): string {
    return this.value(group, name) as string;
  }

  describe(group: string): readonly GroupConfigEntry[] {
    return describeGroupConfig(this.overrides(group), this.broker);
  }

  /** Calls back after any change of the catalogue; spurious calls are allowed. */
  onChanged(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** IncrementalAlterConfigs of a GROUP resource. Undefined when done (or, with validateOnly, when it could be). */
  change(
    group: string,
    operations: readonly ConfigOperation[],
    validateOnly: boolean,
  ): Promise<ApiError | undefined> {
    return this.write(group, validateOnly, (current) =>
      applyConfigOperations(current, operations, {
        definition: groupConfigDefinition,
        fallback: (name) => groupDefault(name, this.broker).text,
        notAList: (operation, name) => `Can't ${operation} to key ${name} because its type is not LIST.`,
      }),
    );
  }

  /** AlterConfigs of a GROUP resource: the values replace all that were set before. */
  replace(group: string, values: StoredValues, validateOnly: boolean): Promise<ApiError | undefined> {
    return this.write(group, validateOnly, () => values);
  }

  /**
   * Asked before a change that may stand by itself is made; what it says against it is the answer (INVALID_CONFIG). `checkOnly`: the
   * change is only asked about.
   */
  guard:
    | ((
        group: string,
        before: GroupSettingValues,
        after: GroupSettingValues,
        checkOnly: boolean,
      ) => Promise<string | undefined>)
    | undefined;

  /** The settings of a group as they would be with these values. */
  private valuesWith(overrides: StoredValues): GroupSettingValues {
    return {
      value: (_, name) => groupSetting(name, overrides, this.broker).value,
      overrides: () => overrides,
      groups: () => [],
    };
  }

  private async write(
    group: string,
    validateOnly: boolean,
    next: (current: StoredValues) => StoredValues | ApiError,
  ): Promise<ApiError | undefined> {
    const { guard } = this;
    if (guard !== undefined) {
      const fault = await this.writeChecked(group, true, next);
      if (fault !== undefined) return fault;
      const before = this.overrides(group);
      const after = next(before);
      if (isApiError(after)) return after;
      const trouble = await guard(group, this.valuesWith(before), this.valuesWith(after), validateOnly);
      if (trouble !== undefined) return apiError('INVALID_CONFIG', trouble);
      if (validateOnly) return undefined;
    }
    return this.writeChecked(group, validateOnly, next);
  }

  private writeChecked(
    group: string,
    validateOnly: boolean,
    next: (current: StoredValues) => StoredValues | ApiError,
  ): Promise<ApiError | undefined> {
    return changeStoredValues(this.catalogue, {
      key: keyPrefix + group,
      next,
      validateOnly,
      refusal: (_before, after) => {
        try {
          checkGroupOverrides(after, this.broker);
          return undefined;
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          return apiError('INVALID_CONFIG', error.message);
        }
      },
    });
  }
}

const none: StoredValues = new Map();
