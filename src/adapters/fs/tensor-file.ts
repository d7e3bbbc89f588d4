import { assert } from "../../core/errors.ts";
import {
  dataSizeBytes,
  decodeHeader,
  decodeHeaderSize,
  encodeHeader,
  lengthSizeBytes,
  type TensorLayout,
} from "../../core/safetensors.ts";
import { sharedMemory } from "../../core/shared-memory.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import type { HashingReader } from "./hashed-file.ts";

/**
 * What a safetensors file of these tensors consists of, in order: the header, and the tensors' own memory. A function
 * of the tensors alone, without run or time: equal weights make equal files, which anyone can compare.
 */
export function tensorParts(tensors: readonly NamedTensor[]): readonly Uint8Array[] {
  for (const { name, shape, values } of tensors) {
    assert(
      values.byteLength === dataSizeBytes(shape),
      `tensor "${name}" of shape [${shape.join(", ")}] has as many values, not ${values.length}`,
    );
  }
  return [encodeHeader(tensors), ...tensors.map(({ values }) => bytesOf(values))];
}

/** Where so many bytes of tensors come to lie. */
export type Place = (dataBytes: number) => { readonly buffer: SharedArrayBuffer; readonly beginBytes: number };

/**
 * Memory for the tensors of two files, those of the second right behind those of the first, as a row of state has them: whoever
 * wants that row need not copy them. Threads share it, so that others hash it and take it over.
 * @param sizesBytes of the two files
 */
export function placesInOneRow([first, second]: readonly [number, number]): readonly [Place, Place] {
  const boundary = Math.ceil(first / Float32Array.BYTES_PER_ELEMENT) * Float32Array.BYTES_PER_ELEMENT;
  let row: SharedArrayBuffer | null = null;
  const placed =
    (begin: (dataBytes: number) => number): Place =>
    (dataBytes) => {
      try {
        row ??= sharedMemory(boundary + second);
        return { buffer: row, beginBytes: begin(dataBytes) };
      } catch (error) {
        // The other file's size is what the manifest says, and may be no size at all; whoever reads that file finds out.
        if (!(error instanceof RangeError)) throw error;
        return { buffer: sharedMemory(dataBytes), beginBytes: 0 };
      }
    };
  return [placed((dataBytes) => boundary - dataBytes), placed(() => boundary)];
}

/**
 * Reads a whole safetensors file into new memory. What it means must not be asked for (by the function returned)
 * before the hash has been compared; until then it may be damaged in any way.
 */
export async function readTensors(
  reader: HashingReader,
  sizeBytes: number,
  place: Place,
): Promise<() => readonly NamedTensor[]> {
  const length = new Uint8Array(Math.min(lengthSizeBytes, sizeBytes));
  await reader.fill([length]);
  let tensors: readonly NamedTensor[];
  let data: Uint8Array;
  try {
    const header = new Uint8Array(decodeHeaderSize(length, sizeBytes));
    await reader.fill([header]);
    const dataBytes = sizeBytes - lengthSizeBytes - header.length;
    const layouts = decodeHeader(header, dataBytes).tensors;
    const { buffer, beginBytes: begin } = place(dataBytes);
    data = new Uint8Array(buffer, begin, dataBytes);
    tensors = tensorsAt(layouts, buffer, begin);
  } catch (error) {
    // Read on: whether the file is damaged or only not understood is for the hash to say.
    await reader.skipTo(sizeBytes);
    return () => {
      throw error;
    };
  }
  await reader.fill([data]);
  return () => tensors;
}

/** The tensors whose data begin at this place of the memory, a boundary of four bytes. */
export function tensorsAt(
  layouts: readonly TensorLayout[],
  buffer: ArrayBuffer | SharedArrayBuffer,
  begin: number,
): readonly NamedTensor[] {
  return layouts.map(({ name, shape, beginBytes, endBytes }) => {
    const count = (endBytes - beginBytes) / Float32Array.BYTES_PER_ELEMENT;
    return { name, shape, values: new Float32Array(buffer, begin + beginBytes, count) };
  });
}

/** The bytes of the numbers as they lie in memory; no copy, and no number is looked at, so that NaNs keep their bits. */
function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
