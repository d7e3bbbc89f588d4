/**
 * NumPy's NPY files, versions 1 to 3: a magic, the version, the header's length, a header that is a Python dictionary, and the
 * elements as they lay in memory.
 */
import { LockstepError } from "../../core/errors.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { arrayDataset } from "./array-dataset.ts";
import { MemoryBudget, type NumberArray, openArray } from "./array-file.ts";
import { type DataFile, piecesOf } from "./byte-source.ts";
import { type FilePair, factsOf, namesOf, openPairs } from "./file-pairs.ts";
import type { ArrayLayout, ElementType } from "./number-array.ts";

const elementTypes: Readonly<Record<string, ElementType>> = {
  b1: "bool",
  u1: "uint8",
  i1: "int8",
  u2: "uint16",
  i2: "int16",
  u4: "uint32",
  i4: "int32",
  u8: "uint64",
  i8: "int64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
};

const magic = Buffer.from("\x93NUMPY", "latin1");

export async function openNpy(files: readonly FilePair[], memoryBytes: number): Promise<DescribedDataset> {
  const memory = new MemoryBudget(memoryBytes);
  return arrayDataset(await openPairs(files, (file) => openNpyFile(file, memory)), { kind: "npy" }, namesOf(files));
}

export async function openNpyFile(file: DataFile, memory: MemoryBudget): Promise<NumberArray> {
  const { name, place, sizeBytes } = await factsOf(file);
  return openArray({ name, place, sizeBytes, pieces: () => file.read(piecesOf) }, npyLayout, memory);
}

/** `name`: of the file, or of the array in its archive. `bytes`: its beginning, or all of it. */
export function npyLayout(name: string, bytes: Uint8Array): ArrayLayout {
  if (!magic.equals(bytes.subarray(0, magic.length))) {
    throw new LockstepError("invalid-data", `${name} is no NPY file: it does not begin with "\\x93NUMPY".`, {
      hint: "Write it with np.save(file, array).",
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[magic.length];
  const begin = version === 1 ? 10 : 12;
  if (bytes.length < begin) throw cutOff(name);
  if (version !== 1 && version !== 2 && version !== 3) {
    throw new LockstepError("invalid-data", `${name} is an NPY file of version ${version}; expected 1, 2 or 3.`, {
      hint: "Write it with np.save(file, array).",
    });
  }
  const offsetBytes = begin + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (bytes.length < offsetBytes) throw cutOff(name);
  const header = Buffer.from(bytes.subarray(begin, offsetBytes))
    .toString(version === 3 ? "utf8" : "latin1")
    .trim();
  return { ...described(name, header), offsetBytes };
}

function cutOff(name: string): LockstepError {
  return new LockstepError("invalid-data", `${name} ends within its header.`, {
    hint: "The file is cut off: get it again.",
  });
}

/** Python's writing of a dictionary with these three keys, in any order. */
const typePattern = /['"]descr['"]\s*:\s*(?:(['"])([^'"]{1,40})\1|([[(]))/;
const orderPattern = /['"]fortran_order['"]\s*:\s*(True|False)\b/;
const shapePattern = /['"]shape['"]\s*:\s*\(([\d\s,L]*)\)/;

function described(name: string, header: string): Omit<ArrayLayout, "offsetBytes"> {
  const [type, order, shape] = [typePattern, orderPattern, shapePattern].map((pattern) => pattern.exec(header));
  const isDictionary = header.startsWith("{") && header.endsWith("}");
  if (!isDictionary || !type || !order || !shape) {
    const shown = JSON.stringify(header.length > 60 ? `${header.slice(0, 60)}…` : header);
    throw new LockstepError("invalid-data", `${name} has a header that is not NumPy's: ${shown}.`, {
      hint: "The file is damaged: get it again, or write it with np.save(file, array).",
    });
  }
  const sizes = shape[1]!.split(",").map((size) => size.trim().replace(/L$/, ""));
  if (sizes.at(-1) === "") sizes.pop(); // one of one dimension is written as (5,), one of none as ()
  if (!sizes.every((size) => /^\d{1,15}$/.test(size))) {
    throw new LockstepError("invalid-data", `${name} has the shape (${shape[1]}); expected whole numbers.`, {
      hint: "The file is damaged: get it again.",
    });
  }
  return { ...elementType(name, type[2] ?? null), shape: sizes.map(Number), isFortranOrder: order[1] === "True" };
}

/** `written`: as "<f4"; null for a record of several. */
function elementType(name: string, written: string | null): Pick<ArrayLayout, "type" | "isBigEndian"> {
  const [, byteOrder, code] = /^([<>|=]?)([a-zA-Z]\d*)$/.exec(written ?? "") ?? [];
  const type = elementTypes[code ?? ""];
  if (type !== undefined) return { type, isBigEndian: byteOrder === ">" };
  const what = written === null ? "records of several fields" : `elements of type "${written}"`;
  throw new LockstepError(
    "invalid-data",
    `${name} has ${what}; expected bool, int, uint or float of 16, 32 or 64 bits.`,
    {
      hint: "Save numbers, as np.save(file, array.astype(np.float32)); replace texts by numbers first.",
    },
  );
}
