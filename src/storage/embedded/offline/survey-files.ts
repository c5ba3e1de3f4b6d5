import { BlockCache, ReadGate } from '../block-cache.ts';
import { producersFileName, stateFileName } from '../directory-layout.ts';
import { isAbsent } from '../file-system.ts';
import { locationOf, segmentOf } from '../location.ts';
import { decodeManifest, manifestFileName, type RunReference, type SnapshotReference } from '../manifest.ts';
import { readTwice } from '../mirror.ts';
import { IndexDamagedError, Run } from '../ordered-index/run-file.ts';
import { QueueSet } from '../queue-set.ts';
import { QueueState } from '../queue-state.ts';
import { RunDamagedError, RunFile, runBlockBytes, runFileName } from '../run-file.ts';
import { decodeState, openSnapshot, type SnapshotKind } from '../state-snapshot.ts';

import type { SurveyState } from './survey-state.ts';

const indexCacheBytes = 4 * 1024 * 1024;

export async function lookAtManifest(survey: SurveyState): Promise<void> {
  const { fileSystem, layout, crc32c } = survey.parts;
  const { first, second } = await readTwice(
    fileSystem,
    layout.root,
    layout.mirror,
    manifestFileName,
    (bytes, path) => decodeManifest(bytes, path, crc32c),
  );
  for (const { fault, path } of [first, second]) {
    if (fault === undefined) continue;
    const isOfOldVersion = first.value !== undefined && first.value.generation === undefined;
    survey.note({
      severity: isOfOldVersion && path === second.path ? 'remark' : 'damage',
      kind: 'manifest',
      file: path,
      message: fault,
    });
  }
  const ahead = (second.value?.generation ?? -1) - (first.value?.generation ?? -1);
  if (first.value !== undefined && second.value !== undefined && ahead !== 0) {
    const file = ahead > 0 ? first.path : second.path;
    survey.note({
      severity: ahead === 1 ? 'remark' : 'damage',
      kind: 'manifest',
      file,
      message: `${file} is an older copy`,
    });
  }
  survey.manifest = ahead > 0 || first.value === undefined ? (second.value ?? first.value) : first.value;
  if (survey.manifest === undefined) {
    survey.isStateLost = true;
    survey.areProducersLost = true;
  } else {
    survey.durablePosition = survey.manifest.durablePosition;
  }
}

export async function lookAtState(survey: SurveyState): Promise<void> {
  const reference = survey.manifest?.state;
  if (reference?.number === undefined) return;
  const content = await lookAtSnapshot(survey, 'state', stateFileName(reference.number), reference);
  if (content === undefined) {
    survey.isStateLost = true;
    return;
  }
  const state = decodeState(content);
  survey.table.load(state.catalogue, state.catalogueVersion);
  for (const { id, startOffset, nextOffset, sizeBytes } of state.queues) {
    survey.queues.set(id, new QueueState(id, startOffset, nextOffset, sizeBytes));
  }
  for (const [name, epoch] of state.leases) survey.leases.set(name, epoch);
}

export async function lookAtProducers(survey: SurveyState): Promise<void> {
  const reference = survey.manifest?.producers;
  if (reference?.number === undefined) return;
  const content = await lookAtSnapshot(survey, 'producers', producersFileName(reference.number), reference);
  if (content === undefined) survey.areProducersLost = true;
}

async function lookAtSnapshot(
  survey: SurveyState,
  kind: SnapshotKind,
  name: string,
  { number, position }: SnapshotReference,
): Promise<Buffer | undefined> {
  const { fileSystem, layout, crc32c } = survey.parts;
  const { first, second } = await readTwice(fileSystem, layout.snapshots, layout.mirror, name, (bytes) => {
    const opened = openSnapshot(kind, bytes, crc32c);
    const isAnother =
      opened?.number !== undefined && (opened.number !== number || opened.position !== position);
    return isAnother ? undefined : opened?.content;
  });
  for (const { fault, path } of [first, second]) {
    if (fault === undefined) continue;
    const isOfOldVersion = survey.manifest!.generation === undefined && path === second.path;
    survey.note({
      severity: isOfOldVersion ? 'remark' : 'damage',
      kind: 'snapshot',
      file: path,
      message: fault,
    });
  }
  return first.value ?? second.value;
}

export async function lookAtOrderedIndex(survey: SurveyState): Promise<void> {
  const { fileSystem, layout } = survey.parts;
  const hasMirror = survey.manifest?.generation !== undefined;
  const directories = hasMirror ? [layout.orderedIndex, layout.mirror] : [layout.orderedIndex];
  for (const description of survey.manifest?.orderedIndex.runs ?? []) {
    let run: Run;
    try {
      run = await Run.open(fileSystem, directories, description);
    } catch (error) {
      if (!(error instanceof IndexDamagedError) && !isAbsent(error)) throw error;
      const { message } = error as Error;
      survey.note({ severity: 'damage', kind: 'ordered-index', file: layout.orderedIndex, message });
      survey.damagedIndexRuns.push({ description, isLost: true });
      continue;
    }
    survey.counts.indexRows += description.rows;
    const damaged = new Map<number, number>();
    const intactCopies = directories.length - run.faults.length;
    for (const { directory, name, message } of run.faults) {
      survey.note({ severity: 'damage', kind: 'ordered-index', file: `${directory}/${name}`, message });
    }
    for (const path of run.paths) {
      for (const block of await run.damagedBlocks(path)) {
        damaged.set(block, (damaged.get(block) ?? 0) + 1);
        const message = `block ${block} of ${path} fails its checksum`;
        survey.note({ severity: 'damage', kind: 'ordered-index', file: path, message });
      }
    }
    const isLost = [...damaged.values()].some((copies) => copies >= intactCopies);
    if (damaged.size > 0 || run.faults.length > 0) survey.damagedIndexRuns.push({ description, isLost });
    await run.retire();
  }
}

export async function lookAtRuns(survey: SurveyState): Promise<void> {
  const { fileSystem, layout, crc32c } = survey.parts;
  const { manifest } = survey;
  if (manifest === undefined) return;
  const cache = new BlockCache(runBlockBytes, indexCacheBytes, new ReadGate(2));
  const of: { reference: RunReference; segments: readonly number[]; without: QueueSet }[] = [];
  for (const { run, segments, without } of manifest.extents) {
    const left = QueueSet.parse(without);
    for (const one of segments) survey.without.set(one.number, QueueSet.parse(one.without).union(left));
    of.push({ reference: run, segments: segments.map(({ number }) => number), without: left });
  }
  for (const piece of manifest.pieces) {
    const segments: number[] = [];
    for (let number = segmentOf(piece.from); locationOf(number, 0) < piece.to; number++)
      segments.push(number);
    of.push({ reference: piece, segments, without: QueueSet.empty });
  }
  for (const { reference, segments, without } of of) {
    const file = `${layout.consumeQueues}/${runFileName(reference.number)}`;
    let run: RunFile | undefined;
    const messages: string[] = [];
    try {
      run = await RunFile.open(fileSystem, layout.consumeQueues, crc32c, cache, reference);
      for (const block of await run.damagedBlocks())
        messages.push(`block ${block} of ${file} fails its checksum`);
    } catch (error) {
      if (!(error instanceof RunDamagedError) && !isAbsent(error)) throw error;
      messages.push((error as Error).message);
    }
    for (const message of messages) survey.note({ severity: 'damage', kind: 'index-run', file, message });
    if (messages.length > 0) {
      run?.retire();
      run = undefined;
      survey.damagedRuns.push(reference);
    }
    survey.openRuns.push({ reference, run, segments, without });
  }
}
