/**
 * IDX files, as those of MNIST and its kin, plain or gzip. Two zeros, the element type, the number of dimensions; each
 * dimension's size as 32 bits, the elements; all big-endian.
 */
import { LockstepError } from "../../core/errors.ts";
import type { IdxSource } from "../../core/job.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { arrayDataset } from "./array-dataset.ts";
import { MemoryBudget, type NumberArray, openArray } from "./array-file.ts";
import type { DataFile } from "./byte-source.ts";
import { type FilePair, factsOf, namesOf, openPairs } from "./file-pairs.ts";
import { unpackedPieces } from "./gunzip.ts";
import type { ArrayLayout, ElementType } from "./number-array.ts";

const elementTypes: Readonly<Record<number, ElementType>> = {
  8: "uint8",
  9: "int8",
  11: "int16",
  12: "int32",
  13: "float32",
  14: "float64",
};

export async function openIdx(
  { channels }: IdxSource,
  files: readonly FilePair[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const memory = new MemoryBudget(memoryBytes);
  const pairs = await openPairs(files, (file) => openIdxFile(file, memory));
  return arrayDataset(pairs, { kind: "idx", channels }, namesOf(files), channels);
}

/** The hash is over the unpacked bytes: a file and its gzip are the same data. */
export async function openIdxFile(file: DataFile, memory: MemoryBudget): Promise<NumberArray> {
  const { name, place, sizeBytes, isPacked } = await factsOf(file);
  const pieces = () => file.read((source) => unpackedPieces(source, (cause) => notUnpacked(name, cause)));
  const source = isPacked ? { name, place: null, sizeBytes: null, pieces } : { name, place, sizeBytes, pieces };
  return openArray(source, layoutOf, memory);
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

function notUnpacked(file: string, cause: unknown): LockstepError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new LockstepError("invalid-data", `${file} is a damaged or unfinished gzip file: ${why}.`, {
    hint: "Get the file again.",
    cause,
  });
}
