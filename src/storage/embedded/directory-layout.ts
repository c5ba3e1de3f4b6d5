/** Names in the data directory. */
export interface DirectoryLayout {
  readonly root: string;
  /** Segments of the commit log. */
  readonly commitLog: string;
  /** Index runs of the ConsumeQueues. */
  readonly consumeQueues: string;
  /** Run files of the ordered index. */
  readonly orderedIndex: string;
  readonly snapshots: string;
  /** Second copies, under the same names, of the manifest, snapshots and run files of the ordered index. */
  readonly mirror: string;
}

export function layoutOf(root: string): DirectoryLayout {
  return {
    root,
    commitLog: `${root}/commitlog`,
    consumeQueues: `${root}/consumequeues`,
    orderedIndex: `${root}/index`,
    snapshots: `${root}/snapshots`,
    mirror: `${root}/mirror`,
  };
}

export function stateFileName(number: number): string {
  return `${String(number).padStart(10, '0')}.state`;
}

export function producersFileName(number: number): string {
  return `${String(number).padStart(10, '0')}.producers`;
}
