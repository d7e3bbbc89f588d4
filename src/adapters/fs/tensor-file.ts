import { assert } from "../../core/errors.ts";
import {
  dataSizeBytes,
  decodeHeader,
  decodeHeaderSize,
  encodeHeader,
  lengthSizeBytes,
} from "../../core/safetensors.ts";
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

/**
 * Reads a whole safetensors file into new memory. What it means must not be asked for (by the function returned)
 * before the hash has been compared; until then it may be damaged in any way.
 */
export async function readTensors(reader: HashingReader, sizeBytes: number): Promise<() => readonly NamedTensor[]> {
  const length = new Uint8Array(Math.min(lengthSizeBytes, sizeBytes));
  await reader.fill([length]);
  let tensors: readonly NamedTensor[];
  try {
    const header = new Uint8Array(decodeHeaderSize(length, sizeBytes));
    await reader.fill([header]);
    tensors = allocate(header, sizeBytes - lengthSizeBytes - header.length);
  } catch (error) {
    // Read on: whether the file is damaged or only not understood is for the hash to say.
    await reader.skipTo(sizeBytes);
    return () => {
      throw error;
    };
  }
  await reader.fill(tensors.map(({ values }) => bytesOf(values)));
  return () => tensors;
}

function allocate(header: Uint8Array, dataBytes: number): readonly NamedTensor[] {
  return decodeHeader(header, dataBytes).tensors.map(({ name, shape, beginBytes, endBytes }) => {
    return { name, shape, values: new Float32Array((endBytes - beginBytes) / Float32Array.BYTES_PER_ELEMENT) };
  });
}

/** The bytes of the numbers as they lie in memory; no copy, and no number is looked at, so that NaNs keep their bits. */
function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
