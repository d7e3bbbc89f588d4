/** Unpacking: zip archives (Python wheels are zip archives) in JavaScript, tar archives by the `tar` program. */
import { createReadStream, createWriteStream } from "node:fs";
import { chmod, type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import { findProgram, runProgram } from "./programs.ts";

interface ZipEntry {
  readonly name: string;
  readonly method: number;
  readonly compressedBytes: number;
  readonly sizeBytes: number;
  readonly headerOffset: number;
  readonly unixMode: number;
}

const endSignature = 0x06054b50;
const entrySignature = 0x02014b50;
const endLengthBytes = 22;
const longestCommentBytes = 0xffff;
const stored = 0;
const deflated = 8;

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

/** Reads the central directory, which lies at the end and is found by the record behind it. */
async function readDirectory(file: FileHandle, archive: string): Promise<ZipEntry[]> {
  const { size } = await file.stat();
  const tail = await readAt(
    file,
    Math.max(0, size - endLengthBytes - longestCommentBytes),
    Math.min(size, endLengthBytes + longestCommentBytes),
  );
  let end = tail.length - endLengthBytes;
  while (end >= 0 && tail.readUInt32LE(end) !== endSignature) end--;
  if (end < 0) throw new Error(`${archive} is no zip archive`);
  const count = tail.readUInt16LE(end + 10);
  const directoryBytes = tail.readUInt32LE(end + 12);
  const directoryOffset = tail.readUInt32LE(end + 16);
  if (directoryOffset === 0xffffffff)
    throw new Error(`${archive} is a zip archive of over 4 GB, which is not supported`);
  const directory = await readAt(file, directoryOffset, directoryBytes);
  const entries: ZipEntry[] = [];
  for (let at = 0; entries.length < count; ) {
    if (directory.readUInt32LE(at) !== entrySignature) throw new Error(`${archive} has a damaged directory`);
    const nameBytes = directory.readUInt16LE(at + 28);
    entries.push({
      name: directory.toString("utf8", at + 46, at + 46 + nameBytes),
      method: directory.readUInt16LE(at + 10),
      compressedBytes: directory.readUInt32LE(at + 20),
      sizeBytes: directory.readUInt32LE(at + 24),
      headerOffset: directory.readUInt32LE(at + 42),
      unixMode: directory.readUInt32LE(at + 38) >>> 16,
    });
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return entries;
}

async function extractEntry(file: FileHandle, archive: string, entry: ZipEntry, destination: string): Promise<void> {
  const name = normalize(entry.name);
  if (isAbsolute(name) || name.startsWith(".."))
    throw new Error(`the archive holds a path outside itself: ${entry.name}`);
  const path = join(destination, name);
  await mkdir(dirname(path), { recursive: true });
  // The local header repeats name and extra field, with lengths of its own.
  const header = await readAt(file, entry.headerOffset, 30);
  const start = entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  const output = createWriteStream(path);
  if (entry.compressedBytes === 0) {
    await new Promise<void>((done, fail) => output.once("error", fail).end(done));
  } else {
    const end = start + entry.compressedBytes - 1;
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
