/** A checkpoint's weights as one file, as `lockstep checkpoints export --to safetensors` writes it. */
import { exportedParts } from "../../adapters/fs/export-tensors.ts";
import { LockstepError } from "../../core/errors.ts";
import { contentBytes } from "../../core/manifest.ts";
import { formatBytes } from "../../core/number-format.ts";
import type { CheckpointContent, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Download } from "../../ports/dashboard.ts";
import { tensorMetadata } from "../checkpoints/described.ts";

/** It is read into this process' memory, which is a coordinator's. */
const mostBytes = 512 * 1024 * 1024;

/** "usage": there is no such checkpoint among these, or it is too large for this way. */
export async function downloadOf(
  id: string,
  stored: readonly StoredCheckpoint[],
  load: (id: string) => Promise<CheckpointContent>,
): Promise<Download> {
  const found = stored.find((one) => one.id === id);
  if (!found) throw new LockstepError("usage", `There is no checkpoint ${id} here.`);
  const size = contentBytes(found.manifest);
  if (size > mostBytes) {
    throw new LockstepError(
      "usage",
      `${id} has ${formatBytes(size)}; up to ${formatBytes(mostBytes)} are handed out here.`,
      {
        hint: `Use \`lockstep checkpoints export ${id} --to safetensors\`.`,
      },
    );
  }
  const content = await load(id);
  const parts = exportedParts(content.weights, tensorMetadata(content));
  return { name: `${id}.safetensors`, sizeBytes: parts.reduce((sum, { length }) => sum + length, 0), parts };
}
