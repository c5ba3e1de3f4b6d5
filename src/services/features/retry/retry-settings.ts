/** A group's settings for records that fail, as the code uses them. */
import type { BrokerSettings } from '../../configuration/broker-config.ts';
import type { GroupSettingValues } from '../../configuration/group-configs.ts';
import { featureTopicName } from '../feature-topics.ts';
import { parseDelays, type RetrySchedule } from './retry-schedule.ts';

export const retryPrefix = 'retry.';
export const deadLetterPrefix = 'dlq.';

export interface RetrySettings {
  readonly isEnabled: boolean;
  /** rmq.retry.max.times */
  readonly maxTimes: number;
  readonly schedule: RetrySchedule;
  /** rmq.retry.dedup.ms */
  readonly dedupMs: number;
  /** The poison-pill guard says that it failed, no consumer. */
  readonly isPoison?: boolean;
  readonly topic: string;
}

export type GroupValues = GroupSettingValues;

export function isRetryEnabled(groups: GroupValues, group: string): boolean {
  return groups.value(group, 'rmq.retry.enable') === true;
}

export function retryTopicOf(groups: GroupValues, group: string): string {
  const given = groups.value(group, 'rmq.retry.topic');
  return typeof given === 'string' && given !== '' ? given : featureTopicName(retryPrefix, group);
}

export function retrySettingsOf(groups: GroupValues, group: string): RetrySettings {
  const number = (name: string): number => groups.value(group, name) as number;
  const isExponential = groups.value(group, 'rmq.retry.policy') === 'exponential';
  return {
    isEnabled: isRetryEnabled(groups, group),
    maxTimes: number('rmq.retry.max.times'),
    schedule: {
      policy: isExponential
        ? {
            kind: 'exponential',
            initialMs: number('rmq.retry.exponential.initial.ms'),
            maxMs: number('rmq.retry.exponential.max.ms'),
            multiplier: number('rmq.retry.exponential.multiplier'),
          }
        : { kind: 'customized', delaysMs: parseDelays(groups.value(group, 'rmq.retry.delays') as string[]) },
      jitterPct: number('rmq.retry.jitter.pct'),
    },
    dedupMs: number('rmq.retry.dedup.ms'),
    topic: retryTopicOf(groups, group),
  };
}

export interface GuardSettings {
  /** 0: off. */
  readonly resumes: number;
  readonly intervalMs: number;
}

export function guardSettingsOf(groups: GroupValues, group: string): GuardSettings {
  const resumes = groups.value(group, 'rmq.poison.guard.resumes') as number;
  const intervalMs = groups.value(group, 'rmq.poison.guard.interval.ms') as number;
  return { resumes: resumes === 1 ? 2 : resumes, intervalMs };
}

export interface DeadLetterSettings {
  /** Empty: the group's failures are dropped. */
  readonly topic: string;
  /** errors.deadletterqueue.copy.record.enable */
  readonly copiesRecord: boolean;
  /** The topic is made where it is not there. */
  readonly mayCreate: boolean;
  readonly prefix: string;
}

const topicKey = 'errors.deadletterqueue.topic.name';
const copyKey = 'errors.deadletterqueue.copy.record.enable';

/** Where retries are on, dlq.<group> with whole records unless the group says otherwise; else as KIP-1191 says. */
export function deadLetterSettingsOf(
  groups: GroupValues,
  broker: Pick<BrokerSettings, 'boolean' | 'string'>,
  group: string,
): DeadLetterSettings {
  const isEnabled = isRetryEnabled(groups, group);
  const given = groups.value(group, topicKey);
  const hasName = typeof given === 'string' && given !== '';
  const saysCopy = groups.overrides(group).has(copyKey);
  return {
    topic: hasName ? given : isEnabled ? featureTopicName(deadLetterPrefix, group) : '',
    copiesRecord: saysCopy ? groups.value(group, copyKey) === true : isEnabled,
    mayCreate: isEnabled || broker.boolean('errors.deadletterqueue.auto.create.topics.enable'),
    prefix: broker.string('errors.deadletterqueue.topic.name.prefix') ?? '',
  };
}

/** The group whose retry topic is called so; undefined where there is none with retries on. */
export function groupOfRetryTopic(groups: GroupValues, name: string): string | undefined {
  return groupOfTopic(groups, name, retryPrefix, retryTopicOf);
}

/** The same of dead-letter topics that have the name that the broker gives. */
export function groupOfDeadLetterTopic(groups: GroupValues, name: string): string | undefined {
  return groupOfTopic(groups, name, deadLetterPrefix, (_, group) =>
    featureTopicName(deadLetterPrefix, group),
  );
}

function groupOfTopic(
  groups: GroupValues,
  name: string,
  prefix: string,
  topicOf: (groups: GroupValues, group: string) => string,
): string | undefined {
  const plain = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  if (plain !== '' && topicOf(groups, plain) === name && isRetryEnabled(groups, plain)) return plain;
  // Odd ids, and topics that are called by a setting.
  return groups.groups().find((group) => isRetryEnabled(groups, group) && topicOf(groups, group) === name);
}
