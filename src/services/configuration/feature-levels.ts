/**
 * Versioned abilities of the whole cluster (KIP-584), each at a level that operators may raise and lower (UpdateFeatures). Kept in the
 * catalogue; a feature that nobody set is at its highest level.
 */
import { type ErrorCode, errorCodes } from '../../../protocol/error-codes.ts';
import type { Catalogue } from '../../storage/engine.ts';

export interface Feature {
  readonly name: string;
  readonly minVersion: number;
  readonly maxVersion: number;
  /** The level in force; undefined where it is off. */
  readonly level: number | undefined;
}

export interface FeatureUpdate {
  readonly name: string;
  readonly level: number;
  readonly mayLower: boolean;
}

export interface FeatureFault {
  readonly errorCode: ErrorCode;
  readonly message: string;
}

interface KnownFeature {
  readonly name: string;
  readonly minVersion: number;
  readonly maxVersion: number;
}

/**
 * group.version 1: consumer groups with server-side assignment (KIP-848). share.version 1: share groups (KIP-932). transaction.version 2: each end of a transaction raises its
 * producer's epoch, and writes add to it (KIP-890). Clients look at them.
 */
const known: readonly KnownFeature[] = [
  { name: 'group.version', minVersion: 0, maxVersion: 1 },
  { name: 'share.version', minVersion: 0, maxVersion: 1 },
  { name: 'transaction.version', minVersion: 0, maxVersion: 2 },
];

const featureKeyPrefix = 'feature/';
const maxAttempts = 50;

export class FeatureLevels {
  readonly #catalogue: Pick<Catalogue, 'get' | 'update'>;
  readonly #nodeId: number;

  constructor(catalogue: Pick<Catalogue, 'get' | 'update'>, nodeId: number) {
    this.#catalogue = catalogue;
    this.#nodeId = nodeId;
  }

  all(): readonly Feature[] {
    return known.map((feature) => ({ ...feature, level: this.#levelOf(feature) }));
  }

  /** The level in force; 0 where the feature is off or unknown. */
  level(name: string): number {
    const feature = known.find((one) => one.name === name);
    return feature === undefined ? 0 : this.#levelOf(feature);
  }

  /** Grows with every change; 0 where there was none. */
  get epoch(): number {
    return Math.max(
      0,
      ...known.map(({ name }) => this.#catalogue.get(featureKeyPrefix + name)?.version ?? 0),
    );
  }

  /** All or none. Undefined where it is done, and durable. */
  async update(updates: readonly FeatureUpdate[], validateOnly: boolean): Promise<FeatureFault | undefined> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const fault = this.#faultOf(updates);
      if (fault !== undefined || validateOnly || updates.length === 0) return fault;
      const outcome = await this.#catalogue.update({
        changes: updates.map(({ name, level }) => {
          const key = featureKeyPrefix + name;
          return {
            key,
            expectedVersion: this.#catalogue.get(key)?.version ?? 0,
            value: Buffer.from(String(level)),
          };
        }),
      });
      if (outcome.outcome === 'done') return undefined;
    }
    throw new Error(
      `levels of features were changed by others ${maxAttempts} times while a change was tried`,
    );
  }

  #faultOf(updates: readonly FeatureUpdate[]): FeatureFault | undefined {
    for (const { name, level, mayLower } of updates) {
      const feature = known.find((one) => one.name === name);
      if (feature === undefined)
        return fault(name, level, `Local controller ${this.#nodeId} does not support this feature.`);
      const { minVersion, maxVersion } = feature;
      if (level < minVersion || level > maxVersion) {
        return fault(
          name,
          level,
          `Local controller ${this.#nodeId} only supports versions ${minVersion}-${maxVersion}`,
        );
      }
      if (level < this.#levelOf(feature) && !mayLower) {
        return fault(
          name,
          level,
          "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        );
      }
    }
    return undefined;
  }

  #levelOf({ name, maxVersion }: KnownFeature): number {
    const stored = this.#catalogue.get(featureKeyPrefix + name);
    return stored === undefined ? maxVersion : Number(stored.value.toString('latin1'));
  }
}

function fault(name: string, level: number, why: string): FeatureFault {
  return {
    errorCode: errorCodes.INVALID_UPDATE_VERSION,
    message: `The update failed for all features since the following feature had an error: Invalid update version ${level} for feature ${name}. ${why}`,
  };
}
