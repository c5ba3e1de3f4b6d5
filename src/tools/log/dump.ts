/** `odradek log dump`: prints what a data directory holds, in the order of the log. */
import { decodeRecords } from '../../../protocol/records/batch-records.ts';
import { codecNameOf } from '../../../protocol/records/compression.ts';
import {
  batchCodecId,
  batchIsControl,
  batchIsTransactional,
  batchMagic,
} from '../../../protocol/records/record-batch.ts';
import { BlockCache, ReadGate } from '../../storage/embedded/block-cache.ts';
import { decodeEngineChange, decodeIndexChanges } from '../../storage/embedded/engine-changes.ts';
import {
  type EntryHeader,
  flagMoved,
  flagSync,
  isQueueKind,
  kindData,
  kindEngineChanges,
  kindIndexChanges,
  kindLost,
  kindMarker,
  kindSegmentEnd,
  kindState,
} from '../../storage/embedded/entry-header.ts';
import { EntryRows } from '../../storage/embedded/entry-rows.ts';
import { isCleanedSegment, locationOf, offsetIn, segmentOf } from '../../storage/embedded/location.ts';
import { decodeLostRanges } from '../../storage/embedded/lost-entry.ts';
import { type DirectoryFacts, readDirectory } from '../../storage/embedded/offline/directory-facts.ts';
import { type SegmentItem, walkSegment } from '../../storage/embedded/offline/segment-walk.ts';
import type { SurveyParts } from '../../storage/embedded/offline/survey-result.ts';
import { Run } from '../../storage/embedded/ordered-index/run-file.ts';
import { RunFile, runBlockBytes } from '../../storage/embedded/run-file.ts';
import type { LogCommandLine } from './log-usage.ts';
import { nameOf, type QueueName, queueNames } from './queue-names.ts';

const kindNames: Readonly<Record<number, string>> = {
  [kindData]: 'data',
  [kindState]: 'state',
  [kindMarker]: 'marker',
  [kindIndexChanges]: 'index-changes',
  [kindEngineChanges]: 'engine-changes',
  [kindSegmentEnd]: 'segment-end',
  [kindLost]: 'lost',
};

export type Print = (line: string) => Promise<void> | void;

/** Answers whether anything damaged was met. */
export async function dump(parts: SurveyParts, commandLine: LogCommandLine, print: Print): Promise<boolean> {
  const facts = await readDirectory(parts);
  const names = queueNames(facts.table);
  if (commandLine.show.length > 0) {
    for (const one of commandLine.show) await show(one, parts, facts, names, commandLine, print);
    return false;
  }
  return new EntryDump(parts, facts, names, commandLine, print).run();
}

class EntryDump {
  private readonly parts: SurveyParts;
  private readonly facts: DirectoryFacts;
  private readonly names: ReadonlyMap<number, QueueName>;
  private readonly commandLine: LogCommandLine;
  private readonly print: Print;
  private readonly wanted: ReadonlySet<number> | undefined;
  private printed = 0;
  private hasDamage = false;

  constructor(
    parts: SurveyParts,
    facts: DirectoryFacts,
    names: ReadonlyMap<number, QueueName>,
    commandLine: LogCommandLine,
    print: Print,
  ) {
    this.parts = parts;
    this.facts = facts;
    this.names = names;
    this.commandLine = commandLine;
    this.print = print;
    this.wanted = wantedQueues(commandLine, names);
  }

  async run(): Promise<boolean> {
    const { fileSystem, layout, crc32c, format, isHeld } = this.parts;
    const [firstSegment, firstByte] = this.commandLine.location ?? [0, 0];
    const from = locationOf(firstSegment, firstByte);
    for (const segment of this.facts.segments) {
      if (segment < firstSegment || this.printed >= this.commandLine.limit) continue;
      const isTail = isHeld && !isCleanedSegment(segment);
      await walkSegment(
        { fileSystem, directory: layout.commitLog, segment, crc32c, format },
        async (item) => {
          if (this.printed >= this.commandLine.limit) return;
          const location = item.kind === 'entry' ? item.location : item.from;
          if (location < from || (isTail && location >= this.facts.durablePosition)) return;
          await this.item(item);
        },
      );
    }
    return this.hasDamage;
  }

  private async item(item: SegmentItem): Promise<void> {
    if (item.kind === 'damage') {
      if (!this.parts.isHeld || item.from < this.facts.durablePosition) this.hasDamage = true;
      if (this.wanted !== undefined) return;
      const fields = { location: place(item.from), damaged: item.reason, bytes: item.to - item.from };
      await this.put(fields, `${place(item.from)}  DAMAGED ${fields.bytes} bytes: ${item.reason}`);
      return;
    }
    const { header, payload } = item;
    if (!this.isWanted(header)) return;
    if (!item.isPayloadIntact) this.hasDamage = true;
    this.printed++;
    const fields = this.fieldsOf(item);
    await this.put(fields, lineOf(fields));
    if (!item.isPayloadIntact) return;
    if (header.kind === kindLost) {
      for (const range of decodeLostRanges(header, payload)) {
        const queue = nameOf(this.names, range.queue);
        await this.put({ lost: range }, `    lost: ${queue} offsets ${range.from} to ${range.to - 1}`);
      }
    }
    if (!this.commandLine.withRecords) return;
    if (header.kind === kindIndexChanges) {
      for (const { index, key, value } of decodeIndexChanges(payload)) {
        const change = { index, key: textOf(key), value: value === null ? null : textOf(value) };
        await this.put(change, `    ${index} ${quoted(change.key)} = ${quoted(change.value)}`);
      }
    } else if (header.kind === kindEngineChanges) {
      const text = JSON.stringify(decodeEngineChange(payload), readable);
      await this.put({ change: JSON.parse(text) as unknown }, `    ${text}`);
    } else if (isQueueKind(header.kind)) await this.records(payload, header);
  }

  private async records(payload: Buffer, header: EntryHeader): Promise<void> {
    // The bytes are views of the walk's window.
    const bytes = Buffer.from(payload);
    try {
      if (batchMagic(bytes, 0) !== 2) return;
      const shift = header.baseOffset - Number(bytes.readBigInt64BE(0));
      for (const { offset, timestamp, key, value, headers } of decodeRecords(bytes, 0)) {
        const fields = {
          offset: Number(offset) + shift,
          timestamp: Number(timestamp),
          key: key === null ? null : textOf(key),
          value: value === null ? null : textOf(value),
          headers: headers.map((one) => [textOf(one.key), one.value === null ? null : textOf(one.value)]),
        };
        const more = fields.headers.map(([name, text]) => ` ${name}=${quoted(text ?? null)}`).join('');
        await this.put(
          { record: fields },
          `    ${fields.offset}  ${timeOf(fields.timestamp)}  ${quoted(fields.key)} = ${quoted(fields.value)}${more}`,
        );
      }
    } catch (error) {
      await this.put(
        { cannotBeOpened: (error as Error).message },
        `    cannot be opened: ${(error as Error).message}`,
      );
    }
  }

  private isWanted(header: EntryHeader): boolean {
    const { fromOffset, toOffset } = this.commandLine;
    if (this.wanted === undefined && fromOffset === undefined && toOffset === undefined) return true;
    if (!isQueueKind(header.kind)) return false;
    if (this.wanted?.has(header.queue) === false) return false;
    const end = header.baseOffset + header.count;
    return end > (fromOffset ?? 0) && header.baseOffset < (toOffset ?? Number.POSITIVE_INFINITY);
  }

  private fieldsOf({ header, payload, isPayloadIntact, isStamped }: SegmentItem & { kind: 'entry' }) {
    const isOfQueue = isQueueKind(header.kind);
    const name = isOfQueue ? this.names.get(header.queue) : undefined;
    const producer = header.producer;
    const isBatch = isOfQueue && isPayloadIntact && payload.length >= 61;
    return {
      location: place(header.location),
      kind: kindNames[header.kind] ?? `kind ${header.kind}`,
      ...(isOfQueue
        ? {
            queue: header.queue,
            ...(name === undefined ? {} : { topic: name.topic, partition: name.partition }),
            baseOffset: header.baseOffset,
            count: header.count,
            maxTimestampMs: header.maxTimestampMs,
            isStamped,
          }
        : {}),
      class: (header.flags & flagSync) !== 0 ? 'sync' : 'async',
      isMoved: (header.flags & flagMoved) !== 0,
      group: place(header.group),
      isLastOfGroup: header.isLastOfGroup,
      storeTimeMs: header.storeTimeMs,
      epoch: header.epoch,
      payloadBytes: header.payloadBytes,
      isIntact: isPayloadIntact,
      ...(producer === undefined ? {} : { producer }),
      ...(isBatch && batchMagic(payload, 0) === 2
        ? {
            codec: codecOf(payload),
            isTransactional: batchIsTransactional(payload, 0),
            isControl: batchIsControl(payload, 0),
          }
        : {}),
    };
  }

  private async put(fields: object, line: string): Promise<void> {
    await this.print(this.commandLine.isJson ? JSON.stringify(fields) : line);
  }
}

type EntryFields = ReturnType<EntryDump['fieldsOf']>;

function lineOf(fields: EntryFields): string {
  const { location, kind, epoch, payloadBytes, isIntact, storeTimeMs, group, isMoved } = fields;
  const where =
    fields.queue === undefined
      ? ''
      : `  ${fields.topic === undefined ? `queue ${fields.queue}` : `${fields.topic}-${fields.partition}`} ${fields.baseOffset}+${fields.count}`;
  const parts = [
    `${location}  ${kind}${where}`,
    fields.class,
    timeOf(storeTimeMs),
    `epoch ${epoch}`,
    `${payloadBytes} bytes`,
  ];
  if ('codec' in fields && fields.codec !== 'none') parts.push(String(fields.codec));
  if (group !== location) parts.push(`group ${group}`);
  if (!fields.isLastOfGroup) parts.push('more follow');
  if (isMoved) parts.push('moved');
  const { producer } = fields;
  if (producer !== undefined) {
    parts.push(
      `producer ${producer.producerId}/${producer.producerEpoch} ${producer.firstSequence}..${producer.lastSequence}`,
    );
  }
  if (!isIntact) parts.push('PAYLOAD DAMAGED');
  return parts.join('  ');
}

function codecOf(payload: Buffer): string {
  try {
    return codecNameOf(batchCodecId(payload, 0));
  } catch {
    return `codec ${batchCodecId(payload, 0)}`;
  }
}

function wantedQueues(
  { queue, topic }: LogCommandLine,
  names: ReadonlyMap<number, QueueName>,
): ReadonlySet<number> | undefined {
  if (queue === undefined && topic === undefined) return undefined;
  const wanted = new Set<number>();
  if (queue !== undefined) wanted.add(queue);
  for (const [id, name] of names) {
    if (topic === name.topic || topic === `${name.topic}-${name.partition}`) wanted.add(id);
  }
  return wanted;
}

async function show(
  what: string,
  parts: SurveyParts,
  facts: DirectoryFacts,
  names: ReadonlyMap<number, QueueName>,
  { isJson, limit }: LogCommandLine,
  print: Print,
): Promise<void> {
  const { manifest, table, queues } = facts;
  const put = async (fields: object, line: string): Promise<void> => {
    await print(isJson ? JSON.stringify({ show: what, ...fields }) : line);
  };
  if (manifest === undefined) {
    await put({ missing: true }, 'there is no manifest that can be read');
    return;
  }
  switch (what) {
    case 'manifest':
      await put({ manifest }, JSON.stringify(manifest, undefined, 2));
      return;
    case 'catalogue':
      for (const { key, value, version } of table.list('')) {
        await put({ key, version, value: textOf(value) }, `${key}  (version ${version})  ${textOf(value)}`);
      }
      return;
    case 'queues':
      for (const [id, { startOffset, nextOffset, sizeBytes }] of queues) {
        const name = nameOf(names, id);
        await put(
          { queue: id, name, startOffset, nextOffset, sizeBytes },
          `${id}  ${name}  ${startOffset} to ${nextOffset}  ${sizeBytes} bytes`,
        );
      }
      return;
    case 'snapshots':
      for (const [kind, reference] of [
        ['state', manifest.state],
        ['producers', manifest.producers],
      ] as const) {
        await put(
          { kind, ...reference, position: place(reference.position) },
          `${kind}: ${reference.number === undefined ? 'empty' : `file ${reference.number}`}, as of ${place(reference.position)}`,
        );
      }
      return;
    case 'runs':
    case 'rows':
      await showRuns(what === 'rows', parts, facts, names, limit, put);
      return;
    case 'index':
      await showIndex(parts, facts, limit, put);
  }
}

type Put = (fields: object, line: string) => Promise<void>;

async function showRuns(
  withRows: boolean,
  { fileSystem, layout, crc32c }: SurveyParts,
  { manifest }: DirectoryFacts,
  names: ReadonlyMap<number, QueueName>,
  limit: number,
  put: Put,
): Promise<void> {
  const cache = new BlockCache(runBlockBytes, 4 * 1024 * 1024, new ReadGate(2));
  let printed = 0;
  for (const reference of [...manifest!.extents.map(({ run }) => run), ...manifest!.pieces]) {
    const { number, from, to, entries, sizeBytes } = reference;
    if (!withRows) {
      await put(
        { ...reference, from: place(from), to: place(to) },
        `run ${number}: ${place(from)} to ${place(to)}, ${entries} rows, ${sizeBytes} bytes`,
      );
      continue;
    }
    const run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, reference);
    try {
      const rows = new EntryRows();
      for await (const summary of run.summaries()) {
        const endRow = summary.firstRow + summary.rows;
        for (let row = summary.firstRow; row < endRow && printed < limit; row += rows.length) {
          rows.clear();
          const limits = {
            untilOffset: Number.POSITIVE_INFINITY,
            maxBytes: Number.POSITIVE_INFINITY,
            maxRows: 1024,
            atLeastOne: true,
          };
          await run.collect(summary, row, limits, rows);
          for (let at = 0; at < rows.length && printed < limit; at++, printed++) {
            const location = place(rows.locations[at]!);
            const [baseOffset, count, bytes] = [
              rows.baseOffsets[at]!,
              rows.counts[at]!,
              rows.sizesBytes[at]!,
            ];
            await put(
              { run: number, queue: summary.queue, baseOffset, count, location, bytes },
              `run ${number}  ${nameOf(names, summary.queue)} ${baseOffset}+${count} at ${location}, ${bytes} bytes`,
            );
          }
        }
      }
    } finally {
      run.retire();
    }
  }
}

async function showIndex(
  { fileSystem, layout }: SurveyParts,
  { manifest }: DirectoryFacts,
  limit: number,
  put: Put,
): Promise<void> {
  let printed = 0;
  for (const description of manifest!.orderedIndex.runs) {
    const run = await Run.open(fileSystem, [layout.orderedIndex, layout.mirror], description);
    try {
      const { number, level, rows, sizeBytes } = description;
      await put(
        { file: number, level, rows, sizeBytes },
        `file ${number}: level ${level}, ${rows} rows, ${sizeBytes} bytes`,
      );
      for (let block = 0; block < run.fences.length; block++) {
        const { keys, values } = await run.readBlock(block);
        for (let at = 0; at < keys.length && printed < limit; at++, printed++) {
          const end = keys[at]!.indexOf('\0');
          const index = keys[at]!.slice(0, end);
          const key = textOf(Buffer.from(keys[at]!.slice(end + 1), 'latin1'));
          const value = values[at] == null ? null : textOf(Buffer.from(values[at]!, 'latin1'));
          await put(
            { index, key, value },
            `    ${index} ${quoted(key)} = ${value === null ? 'deleted' : quoted(value)}`,
          );
        }
      }
    } finally {
      await run.retire();
    }
  }
}

/** `segment:byte`, as --location takes it. */
export function place(location: number): string {
  return `${segmentOf(location)}:${offsetIn(location)}`;
}

function timeOf(timeMs: number): string {
  const date = new Date(timeMs);
  return timeMs < 0 || Number.isNaN(date.getTime()) ? String(timeMs) : date.toISOString();
}

/** Text where the bytes are text, else `hex:` and their digits. */
function textOf(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) && !hasControls(text)
    ? text
    : `hex:${bytes.toString('hex')}`;
}

function hasControls(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 32 && code !== 9 && code !== 10 && code !== 13) return true;
  }
  return false;
}

function quoted(text: string | null): string {
  return text === null ? 'null' : JSON.stringify(text);
}

function readable(_key: string, value: unknown): unknown {
  const bytes = value as { type?: unknown; data?: unknown } | null;
  if (bytes !== null && typeof bytes === 'object' && bytes.type === 'Buffer') {
    return textOf(Buffer.from(bytes.data as number[]));
  }
  return value;
}
