/** All scenarios, in the order in which they run. */
import type { Scenario } from './scenario.ts';
import { adminScenarios } from './scenarios/admin.ts';
import { clientMetricsScenarios } from './scenarios/client-metrics.ts';
import { configScenarios } from './scenarios/configs.ts';
import { consumerGroupScenarios } from './scenarios/consumer-groups.ts';
import { fetchScenarios } from './scenarios/fetch.ts';
import { groupScenarios } from './scenarios/groups.ts';
import { malformedScenarios } from './scenarios/malformed.ts';
import { offsetScenarios } from './scenarios/offsets.ts';
import { produceScenarios } from './scenarios/produce.ts';
import { quotaScenarios } from './scenarios/quotas.ts';
import { topicScenarios } from './scenarios/topics.ts';
import { transactionScenarios } from './scenarios/transactions.ts';

export const scenarios: readonly Scenario[] = [
  ...topicScenarios,
  ...produceScenarios,
  ...fetchScenarios,
  ...offsetScenarios,
  ...groupScenarios,
  ...consumerGroupScenarios,
  ...transactionScenarios,
  ...configScenarios,
  ...clientMetricsScenarios,
  ...adminScenarios,
  ...quotaScenarios,
  ...malformedScenarios,
];
