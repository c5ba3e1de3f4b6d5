/** The broker, bundled from its sources for one test run, with a seeded bug if asked for. */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { brokerUnderTest, bundleWithBug, type SeededBug } from './broker-process.ts';

export interface BundledBroker {
  readonly program: string;
  remove(): Promise<void>;
}

/** `root`: the project's, for the bundle must lie in it to find the packages. */
export async function bundleBroker(root: string, bug?: SeededBug): Promise<BundledBroker> {
  await mkdir(join(root, '.cache'), { recursive: true });
  const directory = await mkdtemp(join(root, '.cache/crash-'));
  const remove = (): Promise<void> => rm(directory, { recursive: true });
  try {
    // The broker reads its version from the file above its folder.
    await copyFile(join(root, 'package.json'), join(directory, 'package.json'));
    return { program: await bundleWithBug(root, brokerUnderTest, join(directory, 'dist'), bug), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
