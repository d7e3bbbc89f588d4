/** Unpacking: zip archives (Python wheels are zip archives) in JavaScript, tar archives by the `tar` program. */
import { createReadStream, createWriteStream } from "node:fs";
import { chmod, type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import { findProgram, runProgram } from "./programs.ts";
import {
  contentOffset,
  deflated,
  directoryPlace,
  entriesIn,
  headerBytes,
  longestEndBytes,
  stored,
  type ZipEntry,
} from "./zip-format.ts";

/** Unpacks those files of a zip archive that `wanted` accepts, under `destination` with their paths. */
export async function extractZip(
  archive: string,
  destination: string,
  wanted: (name: string) => boolean,
): Promise<void> {
  const file = await open(archive, "r");
  try {
    for (const entry of await readDirectory(file, archive)) {
      if (!entry.name.endsWith("/") && wanted(entry.name)) await extractEntry(file, archive, entry, destination);
    }
  } finally {
    await file.close();
  }
}

/** Unpacks a .tar or .tar.gz archive. */
export async function extractTar(archive: string, destination: string): Promise<void> {
  const tar = findProgram("tar");
  if (tar === null) throw new Error("tar is not on PATH");
  await mkdir(destination, { recursive: true });
  const result = await runProgram(tar, ["-xf", archive, "-C", destination]);
  if (!result.succeeded) throw new Error(`${archive} cannot be unpacked: ${result.failure}`);
}

async function readDirectory(file: FileHandle, archive: string): Promise<readonly ZipEntry[]> {
  const { size } = await file.stat();
  const tailBytes = Math.min(size, longestEndBytes);
  const place = directoryPlace(await readAt(file, size - tailBytes, tailBytes));
  if (place === null) throw new Error(`${archive} is no zip archive`);
  const entries = entriesIn(await readAt(file, place.offsetBytes, place.sizeBytes), place.count);
  if (entries === null) throw new Error(`${archive} has a damaged directory`);
  return entries;
}

async function extractEntry(file: FileHandle, archive: string, entry: ZipEntry, destination: string): Promise<void> {
  const name = normalize(entry.name);
  if (isAbsolute(name) || name.startsWith(".."))
    throw new Error(`the archive holds a path outside itself: ${entry.name}`);
  const path = join(destination, name);
  await mkdir(dirname(path), { recursive: true });
  const start = contentOffset(await readAt(file, entry.offsetBytes, headerBytes), entry);
  if (start === null) throw new Error(`${archive} has a damaged directory`);
  const output = createWriteStream(path);
  if (entry.packedBytes === 0) {
    await new Promise<void>((done, fail) => output.once("error", fail).end(done));
  } else {
    const end = start + entry.packedBytes - 1;
    const input = createReadStream(archive, { start, end, highWaterMark: 1 << 20 });
    if (entry.method === deflated) await pipeline(input, createInflateRaw({ chunkSize: 1 << 20 }), output);
    else if (entry.method === stored) await pipeline(input, output);
    else throw new Error(`${entry.name} is compressed in a way that is not supported (${entry.method})`);
  }
  if (output.bytesWritten !== entry.sizeBytes) {
    throw new Error(`${entry.name} has ${output.bytesWritten} bytes, expected ${entry.sizeBytes}`);
  }
  if ((entry.unixMode & 0o111) !== 0) await chmod(path, 0o755);
}

async function readAt(file: FileHandle, position: number, lengthBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(lengthBytes);
  const { bytesRead } = await file.read(buffer, 0, lengthBytes, position);
  if (bytesRead !== lengthBytes) throw new Error("the zip archive is cut short");
  return buffer;
}
