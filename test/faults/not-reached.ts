/**
 * File calls of the engine that the scenario of the fault matrix makes in no run without a fault, each with its reason: what follows
 * upon a fault (the matrix runs through many of them, and strikes none), what mends damage (test/damage strikes those), what an
 * unclean start does.
 */
const afterFault = 'follows upon a fault';
const damage = 'mends damage, or looks at it';
const uncleanStart = 'only at a start after a crash, or in a directory that lacks a folder';

export const notReached: ReadonlyMap<string, string> = new Map([
  ['commit-log.ts writeSome OpenFile.truncate', afterFault],
  ['disk-space.ts removeReserve FileSystem.unlink', afterFault],
  ['run-file.ts abandon OpenFile.close', afterFault],
  ['run-file.ts abandon FileSystem.unlink', afterFault],
  ['run-file.ts open OpenFile.close', afterFault],
  ['whole-file.ts replaceFile FileSystem.unlink', afterFault],
  ['cleaning/cleaned-writer.ts abandon OpenFile.close', afterFault],
  ['cleaning/cleaned-writer.ts abandon FileSystem.unlink', afterFault],
  ['cleaning/cleaned-writer.ts openSegment OpenFile.close', afterFault],
  ['ordered-index/index-store.ts removeStrays FileSystem.unlink', afterFault],
  ['ordered-index/index-store.ts dropUnused FileSystem.unlink', 'needs eight runs of the ordered index'],
  ['ordered-index/run-file.ts create OpenFile.close', afterFault],
  ['ordered-index/run-file.ts create FileSystem.unlink', afterFault],
  ['ordered-index/run-file.ts abandon OpenFile.close', afterFault],
  ['ordered-index/run-file.ts abandon FileSystem.unlink', afterFault],
  ['ordered-index/run-file.ts openCopy OpenFile.close', afterFault],
  ['ordered-index/run-file.ts open OpenFile.close', afterFault],
  ['maintenance.ts replaceDamaged FileSystem.syncDirectory', damage],
  ['run-build.ts rebuildRun FileSystem.unlink', damage],
  ['recovery.ts openRun FileSystem.mkdir', damage],
  ['recovery.ts openRun FileSystem.syncDirectory', damage],
  ['log-scan.ts skipTo FileSystem.stat', damage],
  ['ordered-index/index-store.ts restoreCopies FileSystem.syncDirectory', damage],
  ['ordered-index/run-file.ts damagedBlocks FileSystem.open', damage],
  ['ordered-index/run-file.ts damagedBlocks OpenFile.read', damage],
  ['ordered-index/run-file.ts damagedBlocks OpenFile.close', damage],
  ['ordered-index/run-file.ts readOther FileSystem.open', damage],
  ['ordered-index/run-file.ts readOther OpenFile.read', damage],
  ['ordered-index/run-file.ts readOther OpenFile.close', damage],
  ['ordered-index/run-file.ts putRight FileSystem.open', damage],
  ['ordered-index/run-file.ts putRight OpenFile.write', damage],
  ['ordered-index/run-file.ts putRight OpenFile.datasync', damage],
  ['ordered-index/run-file.ts putRight OpenFile.close', damage],
  ['ordered-index/run-file.ts describe FileSystem.open', damage],
  ['ordered-index/run-file.ts describe OpenFile.sizeBytes', damage],
  ['ordered-index/run-file.ts describe OpenFile.read', damage],
  ['ordered-index/run-file.ts describe OpenFile.close', damage],
  ['log-scan.ts cutLog FileSystem.unlink', uncleanStart],
  ['log-scan.ts cutLog OpenFile.truncate', uncleanStart],
  ['data-directory.ts refuseForeignData FileSystem.readdir', uncleanStart],
  ['data-directory.ts refuseForeignData FileSystem.stat', uncleanStart],
  ['data-directory.ts makeDirectories FileSystem.mkdir', uncleanStart],
  ['data-directory.ts makeDirectories FileSystem.syncDirectory', uncleanStart],
  ['data-directory.ts removeFrom FileSystem.mkdir', uncleanStart],
  ['ordered-index/index-store.ts takeNumbers FileSystem.mkdir', uncleanStart],
  ['ordered-index/index-store.ts takeNumbers FileSystem.syncDirectory', uncleanStart],
]);
