/** Tensors as one safetensors file, which Python's stock library opens. */
import { open, rename, rm } from "node:fs/promises";
import { encodeHeader } from "../../core/safetensors.ts";
import type { NamedTensor } from "../../ports/checkpoint-storage.ts";
import { tensorParts } from "./tensor-file.ts";

/** Writes a file that must not be there yet, and that is there only once it is whole. Returns its size in bytes. */
export async function exportTensors(
  path: string,
  tensors: readonly NamedTensor[],
  metadata: Readonly<Record<string, string>>,
): Promise<number> {
  const staged = `${path}.${process.pid}.partial`;
  try {
    const file = await open(staged, "wx");
    let sizeBytes = 0;
    try {
      for (const part of exportedParts(tensors, metadata)) {
        await file.writeFile(part);
        sizeBytes += part.length;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(staged, path);
    return sizeBytes;
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
}

/** The file's bytes; the tensors' straight from their memory. */
export function exportedParts(
  tensors: readonly NamedTensor[],
  metadata: Readonly<Record<string, string>>,
): readonly Uint8Array[] {
  const [, ...data] = tensorParts(tensors);
  return [encodeHeader(tensors, metadata), ...data];
}
