/**
 * IDX files, as those of MNIST and its kin, plain or gzip. Two zeros, the element type, the number of dimensions; each
 * dimension's size as 32 bits, the elements; all big-endian.
 */
import { kMaxLength } from "node:buffer";
import { constants, gunzipSync } from "node:zlib";
import { LockstepError } from "../../core/errors.ts";
import type { IdxSource } from "../../core/job.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { arrayDataset, type HashedArray, sha256Of } from "./array-dataset.ts";
import { type ArrayLayout, type ElementType, numberArray, sizeBytesOf } from "./number-array.ts";
import { locate, readBytes } from "./read-file.ts";

const elementTypes: Readonly<Record<number, ElementType>> = {
  8: "uint8",
  9: "int8",
  11: "int16",
  12: "int32",
  13: "float32",
  14: "float64",
};

/** The longest header: 255 dimensions. */
const maximumHeaderBytes = 4 + 4 * 255;

export async function openIdx(source: IdxSource, baseDirectory: string): Promise<DescribedDataset> {
  const open = async (path: string) => {
    const file = locate(path, baseDirectory);
    return decodeIdx(file, await readBytes(file));
  };
  const features = await open(source.features);
  const labels = await open(source.labels);
  const files = [source.features, source.labels].map((path) => locate(path, baseDirectory));
  return arrayDataset(features, labels, { kind: "idx", channels: source.channels }, files, source.channels);
}

/** The hash is over the unpacked bytes: a file and its gzip are the same data. `bytes` are the result's own from here on. */
export function decodeIdx(file: string, bytes: Uint8Array): HashedArray {
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const layout = layoutOf(file, isPacked ? unpackedBeginning(file, bytes) : bytes);
  const whole = isPacked ? unpacked(file, bytes, layout.offsetBytes + sizeBytesOf(layout)) : bytes;
  const sha256 = sha256Of(whole);
  return { array: numberArray(file, whole, layout), sha256 };
}

function layoutOf(file: string, bytes: Uint8Array): ArrayLayout {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint16(0) !== 0) {
    const begins = Buffer.from(bytes.subarray(0, 4)).toString("hex");
    throw new LockstepError(
      "invalid-data",
      `${file} is no IDX file: it begins with ${begins === "" ? "nothing" : `0x${begins}`}; expected 0x0000.`,
      {
        hint: "IDX files are those named …-ubyte or …-ubyte.gz; give them as they were published.",
      },
    );
  }
  const type = elementTypes[bytes[2]!];
  if (type === undefined) {
    const code = bytes[2]!.toString(16).padStart(2, "0");
    throw new LockstepError(
      "invalid-data",
      `${file} says that its elements are of type 0x${code}, which IDX does not have.`,
      {
        hint: "The file is damaged, or no IDX file: get it again.",
      },
    );
  }
  const dimensions = bytes[3]!;
  const offsetBytes = 4 + 4 * dimensions;
  if (bytes.length < offsetBytes) {
    throw new LockstepError("invalid-data", `${file} ends within its header of ${offsetBytes} bytes.`, {
      hint: "The file is cut off: get it again.",
    });
  }
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  return { type, shape, isBigEndian: true, isFortranOrder: false, offsetBytes };
}

function unpackedBeginning(file: string, bytes: Uint8Array): Uint8Array {
  try {
    // What a few kilobytes hold of a file that goes on is enough for its header, so an unfinished end is no error here.
    const unpacked = gunzipSync(bytes.subarray(0, 4096), { finishFlush: constants.Z_SYNC_FLUSH });
    return unpacked.subarray(0, maximumHeaderBytes);
  } catch (cause) {
    throw notUnpacked(file, cause);
  }
}

/** Never unpacks more than `sizeBytes`, whatever the file holds. */
function unpacked(file: string, bytes: Uint8Array, sizeBytes: number): Uint8Array {
  if (sizeBytes > kMaxLength) {
    throw new LockstepError(
      "invalid-data",
      `${file} says that it unpacks to ${sizeBytes} bytes; at most ${kMaxLength} can be held.`,
    );
  }
  try {
    return gunzipSync(bytes, { maxOutputLength: sizeBytes });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw notUnpacked(file, cause);
    throw new LockstepError(
      "invalid-data",
      `${file} unpacks to more than the ${sizeBytes} bytes that its header says.`,
      {
        hint: "The file is damaged: get it again.",
        cause,
      },
    );
  }
}

function notUnpacked(file: string, cause: unknown): LockstepError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new LockstepError("invalid-data", `${file} is a damaged or unfinished gzip file: ${why}.`, {
    hint: "Get the file again.",
    cause,
  });
}
