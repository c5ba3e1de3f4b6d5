/**
 * UpdateFeatures 0 to 2 (KIP-584): raises and lowers the levels of features, all or none. 1: the kind of change, and whether to look
 * only; 2: no results beside the error of the whole.
 */
import { errorCodes } from '../../protocol/error-codes.ts';
import {
  type UpdateFeaturesRequest,
  type UpdateFeaturesResponseInput,
  updateFeaturesRequest,
  updateFeaturesResponse,
} from '../../protocol/generated/57-update-features.ts';
import type { FeatureLevels } from '../services/configuration/feature-levels.ts';
import { defineHandler } from './handler.ts';

export interface UpdateFeaturesServices {
  readonly featureLevels: Pick<FeatureLevels, 'update'>;
}

/** UpgradeType: 1 upgrade, 2 safe downgrade, 3 unsafe downgrade. */
const upgrade = 1;
const largestUpgradeType = 3;
const firstVersionWithoutResults = 2;

export function updateFeaturesHandler({ featureLevels }: UpdateFeaturesServices) {
  return defineHandler<UpdateFeaturesRequest, UpdateFeaturesResponseInput>({
    apiKey: 57,
    minVersion: 0,
    maxVersion: 2,
    request: updateFeaturesRequest,
    response: updateFeaturesResponse,
    async handle({ featureUpdates, validateOnly }, { apiVersion }) {
      const strange = featureUpdates.find(
        ({ upgradeType }) => upgradeType < upgrade || upgradeType > largestUpgradeType,
      );
      if (strange !== undefined) {
        return failure(
          errorCodes.INVALID_UPDATE_VERSION,
          `The update failed for all features since the following feature had an error: The controller does not support the given upgrade type for ${strange.feature}.`,
        );
      }
      const updates = featureUpdates.map(({ feature, maxVersionLevel, allowDowngrade, upgradeType }) => ({
        name: feature,
        level: maxVersionLevel,
        mayLower: allowDowngrade || upgradeType > upgrade,
      }));
      const fault = await featureLevels.update(updates, validateOnly);
      if (fault !== undefined) return failure(fault.errorCode, fault.message);
      return {
        throttleTimeMs: 0,
        errorCode: errorCodes.NONE,
        errorMessage: null,
        results:
          apiVersion >= firstVersionWithoutResults
            ? []
            : featureUpdates.map(({ feature }) => ({
                feature,
                errorCode: errorCodes.NONE,
                errorMessage: 'NONE',
              })),
      };
    },
    fail: (_request, errorCode) => failure(errorCode, null),
  });
}

function failure(errorCode: number, errorMessage: string | null): UpdateFeaturesResponseInput {
  return { throttleTimeMs: 0, errorCode, errorMessage, results: [] };
}
