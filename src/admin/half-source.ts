/** Half messages and settings of groups as the HTTP side asks about them: the services' answers in the words of half-admin.ts. */
import { type ConfigOperation, configOperations } from '../services/configuration/config-operations.ts';
import type { GroupConfigs } from '../services/configuration/group-configs.ts';
import { longestProducerGroup, longestTxnId } from '../services/features/half-message/half-headers.ts';
import type { HalfService } from '../services/features/half-message/half-service.ts';
import type { GroupSettingsAdmin, HalfAdmin } from './half-admin.ts';

export function halfSource({ decisions, redrive }: Pick<HalfService, 'decisions' | 'redrive'>): HalfAdmin {
  const shown = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  return {
    async list(group, { limit, next, pendingOnly }) {
      const page = await decisions.list(group, limit, next);
      if (page === undefined) return undefined;
      const messages = page.halves
        .filter(({ state }) => !pendingOnly || state === 'pending')
        .map((half) => ({
          producerGroup: half.producerGroup,
          txnId: half.txnId.toString('utf8'),
          state: half.state,
          topic: half.topic ?? null,
          partition: half.partition ?? null,
          born: shown(half.bornMs),
          checks: half.checks ?? null,
          nextCheck: shown(half.nextCheckMs),
          ended: shown(half.endedMs),
        }));
      return { messages, next: page.next ?? null };
    },
    async decide(producerGroup, id, verdict) {
      const txnId = Buffer.from(id, 'utf8');
      if (txnId.length === 0 || txnId.length > longestTxnId) {
        const message = `a transaction id has 1 to ${longestTxnId} bytes`;
        return { outcome: 'refused', reason: 'invalid', message };
      }
      if (Buffer.byteLength(producerGroup) > longestProducerGroup) {
        const message = `a producer group has 1 to ${longestProducerGroup} bytes`;
        return { outcome: 'refused', reason: 'invalid', message };
      }
      const { answers } = await decisions.perform([{ id: { producerGroup, txnId }, verdict }]);
      const [answer] = answers;
      if (answer === undefined || answer.outcome === 'failed') return { outcome: 'failed' };
      if (answer.outcome === 'done') return answer;
      return { outcome: 'refused', reason: answer.state, message: answer.message };
    },
    redrive: (producerGroup, partition, offset) => redrive.redrive(producerGroup, partition, offset),
  };
}

export function groupSettingsSource(configs: GroupConfigs): GroupSettingsAdmin {
  return {
    list(group) {
      const own = configs.overrides(group);
      return configs
        .describe(group)
        .filter(({ definition }) => definition.standing !== 'absent')
        .map(({ definition: { name }, text }) => ({ name, value: text, isOwn: own.has(name) }));
    },
    async change(group, values, replaces) {
      if (replaces) {
        const set = [...values].filter((each): each is [string, string] => each[1] !== null);
        return (await configs.replace(group, new Map(set), false))?.message ?? undefined;
      }
      const operations: ConfigOperation[] = [...values].map(([name, value]) => ({
        name,
        operation: value === null ? configOperations.DELETE : configOperations.SET,
        value,
      }));
      return (await configs.change(group, operations, false))?.message ?? undefined;
    },
  };
}
