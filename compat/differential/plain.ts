/**
 * Makes an answer comparable: what must differ between two brokers (ids, ports, times of now, epochs) becomes a name for it that
 * is the same on both, record sets become their batches, and lists whose order nobody promises are sorted.
 */
import { batchLeaderEpoch, batchMagic, entryBounds } from '../../protocol/records/record-batch.ts';
import { decodeRecordSet } from '../../protocol/records/record-set.ts';
import { ZERO_UUID } from '../../protocol/wire/uuid.ts';

export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [field: string]: Plain };

const uuidPattern = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=-)[A-Za-z0-9_-]{22}$/g;
const epochFields = new Set(['leaderEpoch', 'partitionLeaderEpoch', 'epoch']);
const sessionFields = new Set(['sessionId']);
const timePattern = /-?\d{13,}/g;
const nowWithinMs = 48 * 3_600_000;

/** What one broker calls things. */
export class Names {
  clusterId: string | undefined;
  port = 0;
  /** The leader epoch of fresh partitions. */
  leaderEpoch = 0;
  private readonly known = new Map<string, string>();
  private readonly counts = new Map<string, number>();

  /** Gives `value` a name of its own, or one counted by kind. */
  name(value: string, kind: string, own?: string): string {
    let name = this.known.get(value);
    if (name === undefined) {
      const count = (this.counts.get(kind) ?? 0) + 1;
      if (own === undefined) this.counts.set(kind, count);
      name = own === undefined ? `<${kind} ${count}>` : `<${kind} ${own}>`;
      this.known.set(value, name);
    }
    return name;
  }

  lookUp(value: string): string | undefined {
    return this.known.get(value);
  }
}

export function plainOf(value: unknown, names: Names): Plain {
  return plain(value, '', names);
}

function plain(value: unknown, field: string, names: Names): Plain {
  if (value === null || value === undefined) return null;
  if (Buffer.isBuffer(value)) return field === 'records' ? recordsOf(value, names) : value.toString('latin1');
  if (Array.isArray(value)) {
    const items = value.map((item) => plain(item, field, names));
    const areObjects = items.some((item) => typeof item === 'object' && item !== null);
    return areObjects ? [...items].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : items;
  }
  switch (typeof value) {
    case 'object':
      return object(value as Record<string, unknown>, names);
    case 'bigint':
      return `${value}n`;
    case 'number':
      return number(value, field, names);
    case 'string':
      return text(value, field, names);
    case 'boolean':
      return value;
    default:
      return String(value);
  }
}

function object(value: Record<string, unknown>, names: Names): Plain {
  const { topicId } = value;
  const own = value.name ?? value.topic;
  if (typeof topicId === 'string' && topicId !== ZERO_UUID && typeof own === 'string' && own !== '') {
    names.name(topicId, 'topic id', own);
  }
  const result: Record<string, Plain> = {};
  for (const [field, inner] of Object.entries(value)) result[field] = plain(inner, field, names);
  return result;
}

function number(value: number, field: string, names: Names): Plain {
  if (field === 'throttleTimeMs') return 0;
  if (field === 'port' && value === names.port) return '<port>';
  if (epochFields.has(field) && value === names.leaderEpoch) return '<epoch>';
  if (field === 'producerId' && value >= 0) return names.name(`producer ${value}`, 'producer');
  if (sessionFields.has(field) && value > 0) return '<session>';
  if (isOfNow(value)) return '<now>';
  return value;
}

function text(value: string, field: string, names: Names): Plain {
  if (value === names.clusterId) return '<cluster>';
  if (field === 'topicId' && value !== ZERO_UUID) return names.name(value, 'topic id');
  const path = names.lookUp(value);
  if (path !== undefined) return path;
  return value
    .replace(uuidPattern, (id) => names.name(id, 'uuid'))
    .replace(timePattern, (time) => (isOfNow(Math.abs(Number(time))) ? '<now>' : time));
}

/** A time within some hours, or the distance of one from the end of all numbers. */
function isOfNow(value: number): boolean {
  const now = Date.now();
  return Math.abs(now - value) < nowWithinMs || Math.abs(2 ** 63 - now - value) < nowWithinMs;
}

function recordsOf(records: Buffer, names: Names): Plain {
  try {
    const { batches, trailingBytes } = decodeRecordSet(records);
    return {
      trailingBytes,
      batches: batches.map((batch) => {
        const { crc, ...rest } = batch;
        const isStampedWithTime = batch.timestampType === 'LogAppendTime';
        return plain({ ...rest, crc: isStampedWithTime ? null : crc }, '', names);
      }),
    };
  } catch (error) {
    const bounds = entryBounds(records, 0);
    if (bounds === undefined) return { trailingBytes: records.length, batches: [] };
    return {
      error: String(error),
      magic: batchMagic(records, 0),
      leaderEpoch: plain(batchLeaderEpoch(records, 0), 'leaderEpoch', names),
      sizeBytes: records.length,
    };
  }
}
