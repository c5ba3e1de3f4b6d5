// Reads files out of jars (zip archives) that Maven fetches from Maven Central. Tools only.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';

const COPY_GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy';

/** The path of a jar in `directory`, fetched with `mvn` where it is not there yet. */
export function fetchJar(artifact: string, version: string, directory: string): string {
  const path = join(directory, `${artifact}-${version}.jar`);
  if (existsSync(path)) return path;
  mkdirSync(directory, { recursive: true });
  // Run inside the folder: mvn must not find some pom further up.
  execFileSync(
    'mvn',
    [
      '-q',
      '-B',
      COPY_GOAL,
      `-Dartifact=org.apache.kafka:${artifact}:${version}`,
      `-DoutputDirectory=${directory}`,
    ],
    { cwd: directory, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (!existsSync(path)) throw new Error(`mvn did not bring ${path}`);
  return path;
}

/** The files of an archive whose name `select` takes: name to content. */
export function readJar(path: string, select: (name: string) => boolean): Map<string, Buffer> {
  const zip = readFileSync(path);
  let end = zip.length - 22;
  while (end >= 0 && zip.readUInt32LE(end) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error(`${path} is no zip archive`);
  const files = new Map<string, Buffer>();
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left -= 1) {
    if (zip.readUInt32LE(at) !== 0x02014b50) throw new Error(`${path}: bad central directory`);
    const method = zip.readUInt16LE(at + 10);
    const compressedSize = zip.readUInt32LE(at + 20);
    const nameLength = zip.readUInt16LE(at + 28);
    const localHeader = zip.readUInt32LE(at + 42);
    const name = zip.toString('utf8', at + 46, at + 46 + nameLength);
    if (select(name)) {
      const start =
        localHeader + 30 + zip.readUInt16LE(localHeader + 26) + zip.readUInt16LE(localHeader + 28);
      const content = zip.subarray(start, start + compressedSize);
      files.set(name, method === 0 ? content : inflateRawSync(content));
    }
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  return files;
}
