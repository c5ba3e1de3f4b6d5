/** Makes answers comparable: what differs from run to run, or lists without an order, is put into one form. */

const zeroUuid = 'AAAAAAAAAAAAAAAAAAAAAA';
/** Ids of the test's own, which must come back as they were sent. */
const ownUuids = new Set([zeroUuid, 'R1XJY0bORNGDNDS6ghsOqA']);
/** Topic and group settings that the recorded Kafka (4.3) did not have yet, and one that its own bootstrap sets. */
const leftOut = new Set([
  'errors.deadletterqueue.copy.record.enable',
  'errors.deadletterqueue.group.enable',
  'errors.deadletterqueue.topic.name',
  'max.decompressed.message.bytes',
  'min.insync.replicas',
  'remote.copy.lag.bytes',
  'remote.copy.lag.ms',
  'streams.assignor.name',
  'streams.rack.aware.assignment.tags',
]);
/** Settings of our own stand beside Kafka's. */
const isLeftOut = (name: string) => leftOut.has(name) || name.startsWith('rmq.');
const defaultSource = 5;
const volumeFields = new Set(['totalBytes', 'usableBytes', 'logDir']);

interface Named {
  readonly name?: string;
  readonly configSource?: number;
  readonly synonyms?: unknown;
}

export function comparable(value: unknown, field = ''): unknown {
  if (Array.isArray(value)) {
    const items = value
      .filter((item: Named) => field !== 'configs' || !isLeftOut(item.name ?? ''))
      // CreateTopics answers list every default: those are the same everywhere and told by DescribeConfigs.
      .filter(
        (item: Named) => field !== 'configs' || 'synonyms' in item || item.configSource !== defaultSource,
      )
      .map((item) => comparable(item, field));
    if (field === 'synonyms' || typeof items[0] !== 'object') return items;
    return items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [name, comparableField(name, inner)]),
    );
  }
  return value;
}

function comparableField(name: string, value: unknown): unknown {
  if (name === 'topicId') return ownUuids.has(value as string) ? value : 'some id';
  if (name === 'clusterId') return value ? 'some cluster' : value;
  if (volumeFields.has(name)) return 'some volume';
  return comparable(value, name);
}
