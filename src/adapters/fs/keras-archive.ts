/** A `.keras` file: a ZIP archive of the model's configuration and an HDF5 file of its weights. */
import { checksum, unpackBytes } from "../data/zip.ts";
import {
  contentOffset,
  deflated,
  directoryPlace,
  entriesIn,
  headerBytes,
  isHeader,
  longestEndBytes,
  stored,
  type ZipEntry,
} from "../system/zip-format.ts";
import { type ByteWindow, bytesAt, memoryWindow, partOf } from "./byte-window.ts";

export interface KerasArchive {
  /** Null: the archive has none. */
  readonly config: string | null;
  readonly metadata: string | null;
  readonly weights: ByteWindow;
}

/** A configuration of thousands of layers has some megabytes. */
const mostTextBytes = 256 * 1024 * 1024;
const checkedAtOnceBytes = 4 * 1024 * 1024;
const weightsName = "model.weights.h5";

/** Null: it is no archive. Throws an Error with a sentence where it is damaged, or none of Keras. */
export function openKerasArchive(file: ByteWindow): KerasArchive | null {
  const place = directoryPlace(bytesAt(file, Math.max(0, file.sizeBytes - longestEndBytes), longestEndBytes));
  if (place === null) {
    if (isHeader(bytesAt(file, 0, headerBytes))) throw new Error("it is damaged: it has no directory at its end.");
    return null;
  }
  const entries = entriesIn(bytesAt(file, place.offsetBytes, place.sizeBytes), place.count);
  if (entries === null) throw new Error("it is damaged: its directory is not whole.");
  const weights = entries.find(({ name }) => name === weightsName);
  if (!weights) throw new Error(`it is an archive without ${weightsName}.`);
  const text = (wanted: string) => {
    const entry = entries.find(({ name }) => name === wanted);
    if (!entry) return null;
    if (entry.sizeBytes > mostTextBytes) {
      throw new Error(`its ${wanted} has ${entry.sizeBytes} bytes; expected at most ${mostTextBytes}.`);
    }
    return new TextDecoder().decode(unpackBytes("it", packed(file, entry), entry));
  };
  return { config: text("config.json"), metadata: text("metadata.json"), weights: weightsIn(file, weights) };
}

/** Keras stores them unpacked, so that they are read where they lie. */
function weightsIn(file: ByteWindow, entry: ZipEntry): ByteWindow {
  if (entry.method === deflated) return memoryWindow(unpackBytes("it", packed(file, entry), entry));
  const weights = placeOf(file, entry);
  let sum = 0;
  for (let at = 0; at < weights.sizeBytes; at += checkedAtOnceBytes) {
    sum = checksum(bytesAt(weights, at, checkedAtOnceBytes), sum);
  }
  if (sum !== entry.crc32) throw new Error(`it is damaged: "${entry.name}" is not what its checksum says.`);
  return weights;
}

function packed(file: ByteWindow, entry: ZipEntry): Uint8Array {
  const place = placeOf(file, entry);
  return bytesAt(place, 0, place.sizeBytes);
}

function placeOf(file: ByteWindow, entry: ZipEntry): ByteWindow {
  const { name, packedBytes, offsetBytes } = entry;
  if ((entry.flags & 1) !== 0) throw new Error(`it has "${name}" encrypted.`);
  if (entry.method !== stored && entry.method !== deflated) {
    throw new Error(`it has "${name}" packed by method ${entry.method}; expected stored or deflated.`);
  }
  const begin = contentOffset(bytesAt(file, offsetBytes, headerBytes), entry);
  if (begin === null || begin + packedBytes > file.sizeBytes) {
    throw new Error(`it is damaged: "${name}" is not where its directory says.`);
  }
  return partOf(file, begin, packedBytes);
}
