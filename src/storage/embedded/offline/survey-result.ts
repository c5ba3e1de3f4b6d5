/** What a survey of a data directory answers: findings for people, damaged places for the repair. */
import type { CatalogueTable } from '../../catalogue-table.ts';
import type { PayloadFormat, QueueId } from '../../engine.ts';
import type { Checksum } from '../checksum.ts';
import type { DirectoryLayout } from '../directory-layout.ts';
import type { FileSystem } from '../file-system.ts';
import type { LostRange } from '../lost-entry.ts';
import type { Manifest, RunReference, SegmentReference } from '../manifest.ts';
import type { IndexRunDescription } from '../ordered-index/run-file.ts';
import type { QueueState } from '../queue-state.ts';

export interface SurveyParts {
  readonly fileSystem: FileSystem;
  readonly layout: DirectoryLayout;
  readonly crc32c: Checksum;
  readonly format: PayloadFormat;
  /** A broker is at work in the directory: what is not durable yet is not looked at. */
  readonly isHeld: boolean;
}

export type FindingKind =
  | 'manifest'
  | 'snapshot'
  | 'ordered-index'
  | 'index-run'
  | 'segment'
  | 'entry'
  | 'row'
  | 'gap'
  | 'group'
  | 'order'
  | 'lost'
  | 'tail'
  | 'padding'
  | 'stray';

export interface Finding {
  /** `remark`: nothing is wrong with what is served; said for completeness. */
  readonly severity: 'damage' | 'remark';
  readonly kind: FindingKind;
  readonly file: string;
  /** Byte in the file. */
  readonly at?: number;
  readonly bytes?: number;
  readonly message: string;
  readonly queue?: QueueId;
  readonly fromOffset?: number;
  readonly toOffset?: number;
}

/** A stretch of a segment that cannot be read. */
export interface DamagedRegion {
  readonly from: number;
  to: number;
  readonly reason: string;
  /** The file ends inside it, or is missing from there on. */
  readonly isAtEnd: boolean;
  /** The entry's header is intact: its group is known, and it is the last of it or not. */
  readonly own: { readonly group: number; readonly isLastOfGroup: boolean } | undefined;
  /** What was there of queues, as far as rows, headers or gaps tell. */
  ranges: LostRange[];
  /** The same behind the place up to which the index is sealed. */
  laterRanges: LostRange[];
  /** The group that was open before it; undefined: none. */
  readonly openGroup: number | undefined;
  /** The group of the entry behind it. */
  nextGroup: number | undefined;
  readonly epoch: number;
  readonly storeTimeMs: number;
}

export interface SegmentSurvey {
  readonly number: number;
  readonly path: string;
  /** Undefined: missing, or no file. */
  readonly sizeBytes: number | undefined;
  readonly reference: SegmentReference | undefined;
  readonly isEnded: boolean;
  /** The segment whose entries the file holds, where it is another's. */
  readonly claimed: number | undefined;
}

export interface SurveyCounts {
  segments: number;
  entries: number;
  payloadBytes: number;
  damagedEntries: number;
  damagedBytes: number;
  rows: number;
  queues: number;
  indexRows: number;
}

export interface SurveyResult {
  readonly manifest: Manifest | undefined;
  readonly findings: readonly Finding[];
  readonly counts: SurveyCounts;
  readonly segments: readonly SegmentSurvey[];
  readonly regions: readonly DamagedRegion[];
  /** Bytes between entries that are not zeros. */
  readonly paddings: readonly { readonly from: number; readonly to: number }[];
  /** Names of segments that hold nothing, and are no files. */
  readonly links: readonly string[];
  readonly damagedRuns: readonly RunReference[];
  /** Of the ordered index; where `isLost` no copy can be used. */
  readonly damagedIndexRuns: readonly {
    readonly description: IndexRunDescription;
    readonly isLost: boolean;
  }[];
  readonly isStateLost: boolean;
  readonly areProducersLost: boolean;
  readonly queues: ReadonlyMap<QueueId, QueueState>;
  readonly table: CatalogueTable;
  /** Known durable. */
  readonly durablePosition: number;
  /** Behind the last whole group. */
  readonly end: number;
}
