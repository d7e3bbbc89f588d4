/** The replicated state: its digest, and how it becomes a checkpoint and comes back. */
import { createHash } from "node:crypto";
import { LockstepError } from "../core/errors.ts";
import type { StateName } from "../core/state-order.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Progress } from "../core/progress.ts";
import type { JobRecord } from "../core/records.ts";
import type { Preprocessing } from "../core/transforms.ts";
import type { CheckpointContent, NamedTensor } from "../ports/checkpoint-storage.ts";
import type { ComputeInfo } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import type { CheckpointIdentity } from "./leadership.ts";

/** "sha256:…" of weights, slots and progress: equal digests mean equal states. */
export function digestOf(snapshot: StateSnapshot): string {
  return `sha256:${createHash("sha256").update(bytesOf(snapshot.values)).update(snapshot.progress).digest("hex")}`;
}

/** A state's place in the order of states, and its digest. */
export function stateName(snapshot: StateSnapshot): StateName {
  const { lineage, era, step, epoch } = decodeJson<Progress>(snapshot.progress);
  return { lineage, era, step, epoch, digest: digestOf(snapshot) };
}

/** "sha256:…" over the weights' little-endian bytes in the model's order. */
export function weightsDigestOf(snapshot: StateSnapshot, info: Pick<ComputeInfo, "weightCount">): string {
  return `sha256:${createHash("sha256")
    .update(bytesOf(snapshot.values.subarray(0, info.weightCount)))
    .digest("hex")}`;
}

export function snapshotToContent(
  snapshot: StateSnapshot,
  info: ComputeInfo,
  record: JobRecord,
  identity: CheckpointIdentity & { state: StateName; weightsDigest: string },
): CheckpointContent {
  const progress = decodeJson<Progress>(snapshot.progress);
  const weights: NamedTensor[] = info.parameters.map(({ name, shape, offset, size }) => ({
    name,
    shape,
    values: snapshot.values.subarray(offset, offset + size),
  }));
  const optimizer: NamedTensor[] = info.slotNames.flatMap((slot, i) =>
    info.parameters
      .filter(({ offset }) => offset < info.trainableCount)
      .map(({ name, shape, offset, size }) => {
        const begin = info.weightCount + i * info.trainableCount + offset;
        return { name: `${slot}/${name}`, shape, values: snapshot.values.subarray(begin, begin + size) };
      }),
  );
  const ended = progress.stepInEpoch === 0 ? progress.history.at(-1) : undefined;
  return {
    manifest: {
      formatVersion: 1,
      id: identity.id,
      job: record.job,
      run: String(record.run),
      lineage: progress.lineage,
      era: progress.era,
      step: progress.step,
      epoch: progress.epoch,
      stepInEpoch: progress.stepInEpoch,
      generation: identity.generation,
      fencingToken: identity.fencingToken,
      stateDigest: identity.state.digest,
      weightsDigest: identity.weightsDigest,
      fingerprint: info.fingerprint,
      equivalences: identity.equivalences,
      members: identity.members,
      metrics: ended?.metrics ?? null,
      writtenAt: identity.writtenAt,
    },
    weights,
    optimizer,
    // Progress as text, so that what is read back is what was digested.
    state: { progress: snapshot.progress, preprocessing: info.preprocessing } satisfies CheckpointState,
  };
}

/** What a checkpoint holds beside tensors. */
interface CheckpointState {
  readonly progress: string;
  readonly preprocessing: Preprocessing;
}

/** How far training was. */
export function progressOf({ state }: CheckpointContent): Progress {
  return decodeJson<Progress>((state as CheckpointState).progress); // written by snapshotToContent, verified by its hash
}

/** What the model of a checkpoint expects to be done to its samples. */
export function preprocessingOf({ state }: CheckpointContent): Preprocessing {
  return (state as CheckpointState).preprocessing; // written by snapshotToContent, verified by its hash
}

/** The state in a checkpoint, in this model's layout; refuses one that was made by another model or optimizer. */
export function contentToSnapshot(
  content: CheckpointContent,
  info: Pick<ComputeInfo, "weightCount" | "trainableCount" | "slotNames" | "parameters">,
): StateSnapshot {
  const { progress } = content.state as CheckpointState; // written by snapshotToContent, verified by its hash
  const values = new Float32Array(info.weightCount + info.slotNames.length * info.trainableCount);
  const misfit = (has: string, wants: string) =>
    new LockstepError("incompatible", `The checkpoint ${content.manifest.id} has ${has}, where the job ${wants}.`, {
      hint: "Undo the change of the model or the optimizer in the job file, or start a new run with --resume never.",
    });
  const take = (tensors: readonly NamedTensor[], name: string, shape: readonly number[], offset: number) => {
    const tensor = tensors.find((candidate) => candidate.name === name);
    if (tensor?.shape.join() !== shape.join()) {
      throw misfit(`${tensor ? `[${tensor.shape.join(", ")}]` : "nothing"} for ${name}`, `has [${shape.join(", ")}]`);
    }
    values.set(tensor.values, offset);
  };
  for (const { name, shape, offset } of info.parameters) {
    take(content.weights, name, shape, offset);
    if (offset >= info.trainableCount) continue;
    for (const [i, slot] of info.slotNames.entries()) {
      take(content.optimizer, `${slot}/${name}`, shape, info.weightCount + i * info.trainableCount + offset);
    }
  }
  const extra = content.weights.find((tensor) => info.parameters.every(({ name }) => name !== tensor.name));
  if (extra) throw misfit(`the weight ${extra.name}`, "has none of that name");
  return { progress: encodeJson(decodeJson(progress)), values };
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
