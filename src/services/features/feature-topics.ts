/** Names of the topics that features keep for a group: a prefix and the group's id, where that can be a topic's name. */
import { createHash } from 'node:crypto';

const legal = /^[a-zA-Z0-9._-]+$/;
const longestTopicName = 249;

/** `prefix` and the group; a group that no topic can be named by gets what is left of its name and a hash. */
export function featureTopicName(prefix: string, group: string): string {
  if (legal.test(group) && prefix.length + group.length <= longestTopicName) return prefix + group;
  const hash = createHash('sha256').update(group).digest('hex').slice(0, 8);
  const rest = group.replace(/[^a-zA-Z0-9._-]/g, '_').slice(0, longestTopicName - prefix.length - 9);
  return `${prefix}${rest}-${hash}`;
}
