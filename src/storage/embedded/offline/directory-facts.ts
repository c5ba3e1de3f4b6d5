/**
 * What a data directory says of itself, as far as it can be read: manifest, catalogue and queues as of the last snapshot and the log
 * behind it, and which segments there are. Judges nothing and changes nothing.
 */
import { CatalogueTable } from '../../catalogue-table.ts';
import type { QueueId } from '../../engine.ts';
import { applyEngineChange } from '../apply-change.ts';
import { stateFileName } from '../directory-layout.ts';
import { decodeEngineChange } from '../engine-changes.ts';
import { isQueueKind, kindEngineChanges } from '../entry-header.ts';
import { isCleanedSegment, segmentOf, segmentOfFileName } from '../location.ts';
import { decodeManifest, type Manifest, manifestFileName } from '../manifest.ts';
import { readTwice } from '../mirror.ts';
import { QueueState } from '../queue-state.ts';
import { decodeState, openSnapshot } from '../state-snapshot.ts';
import { walkSegment } from './segment-walk.ts';
import type { SurveyParts } from './survey-result.ts';

export interface DirectoryFacts {
  readonly manifest: Manifest | undefined;
  readonly table: CatalogueTable;
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  /** Ascending; the cleaner's are the last. */
  readonly segments: readonly number[];
  readonly durablePosition: number;
}

export async function readDirectory(parts: SurveyParts): Promise<DirectoryFacts> {
  const { fileSystem, layout, crc32c, format } = parts;
  const copies = await readTwice(fileSystem, layout.root, layout.mirror, manifestFileName, (bytes, path) =>
    decodeManifest(bytes, path, crc32c),
  );
  const [first, second] = [copies.first.value, copies.second.value];
  const manifest = (second?.generation ?? -1) > (first?.generation ?? -1) ? second : (first ?? second);
  const table = new CatalogueTable();
  const queues = new Map<QueueId, QueueState>();
  const number = manifest?.state.number;
  if (number !== undefined) {
    const { snapshots, mirror } = layout;
    const state = await readTwice(fileSystem, snapshots, mirror, stateFileName(number), (bytes) => {
      const opened = openSnapshot('state', bytes, crc32c);
      return opened === undefined ? undefined : decodeState(opened.content);
    });
    const found = state.first.value ?? state.second.value;
    if (found !== undefined) {
      table.load(found.catalogue, found.catalogueVersion);
      for (const { id, startOffset, nextOffset, sizeBytes } of found.queues) {
        queues.set(id, new QueueState(id, startOffset, nextOffset, sizeBytes));
      }
    }
  }
  const hasLog = (await fileSystem.stat(layout.commitLog))?.isDirectory === true;
  const names = hasLog ? await fileSystem.readdir(layout.commitLog) : [];
  const segments = names
    .map(segmentOfFileName)
    .filter((segment) => segment !== undefined)
    .sort((a, b) => a - b);
  const from = manifest?.state.position ?? 0;
  let durablePosition = manifest?.durablePosition ?? 0;
  for (const segment of segments) {
    if (segment < segmentOf(from) || isCleanedSegment(segment)) continue;
    await walkSegment({ fileSystem, directory: layout.commitLog, segment, crc32c, format }, (item) => {
      if (item.kind === 'damage') return;
      const { header, location, payload, isPayloadIntact } = item;
      durablePosition = Math.max(durablePosition, header.durablePosition);
      if (location < from) return;
      const queue = isQueueKind(header.kind) ? queues.get(header.queue) : undefined;
      if (queue !== undefined)
        queue.nextOffset = Math.max(queue.nextOffset, header.baseOffset + header.count);
      if (header.kind !== kindEngineChanges || !isPayloadIntact) return;
      applyEngineChange(decodeEngineChange(payload), queues, table, new Map());
    });
  }
  return { manifest, table, queues, segments, durablePosition };
}
