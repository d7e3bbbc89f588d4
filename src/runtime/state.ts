/** The replicated state: its digest, and how it becomes a checkpoint and comes back. */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { LockstepError } from "../core/errors.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Progress } from "../core/progress.ts";
import type { JobRecord } from "../core/records.ts";
import type { StateName, StatePlace } from "../core/state-order.ts";
import type { Preprocessing } from "../core/transforms.ts";
import type { CheckpointContent, NamedTensor } from "../ports/checkpoint-storage.ts";
import type { ComputeInfo } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import type { CheckpointIdentity } from "./point.ts";

/** Hashed at once, in under a millisecond: 1 MiB. */
const sliceLength = 256 * 1024;

/** "sha256:…" of weights, slots and progress: equal digests mean equal states. */
export function digestOf(snapshot: StateSnapshot): string {
  return `sha256:${createHash("sha256").update(bytesOf(snapshot.values)).update(snapshot.progress).digest("hex")}`;
}

/** Of `digestOf` and `weightsDigestOf` at once, in slices, between which others have their turn: leases are kept meanwhile. */
export async function bothDigestsOf(
  { values, progress }: StateSnapshot,
  { weightCount }: Pick<ComputeInfo, "weightCount">,
): Promise<{ state: string; weights: string }> {
  const hash = createHash("sha256");
  const update = async (part: Float32Array) => {
    for (let begin = 0; begin < part.length; begin += sliceLength) {
      hash.update(bytesOf(part.subarray(begin, begin + sliceLength)));
      if (begin + sliceLength < part.length) await setImmediate();
    }
  };
  await update(values.subarray(0, weightCount));
  const weights = `sha256:${hash.copy().digest("hex")}`;
  await update(values.subarray(weightCount));
  return { weights, state: `sha256:${hash.update(progress).digest("hex")}` };
}

/** A state's place in the order of states, and its digest. */
export function stateName(snapshot: StateSnapshot): StateName {
  return { ...placeOf(snapshot), digest: digestOf(snapshot) };
}

export function placeOf(snapshot: StateSnapshot): StatePlace {
  const { lineage, era, step, epoch } = progressIn(snapshot);
  return { lineage, era, step, epoch };
}

const decoded = new WeakMap<StateSnapshot, Progress>();

/** How far training was in this state. It remembers every epoch, so its text is decoded once. */
export function progressIn(snapshot: StateSnapshot): Progress {
  const known = decoded.get(snapshot);
  if (known) return known;
  const progress = decodeJson<Progress>(snapshot.progress);
  decoded.set(snapshot, progress);
  return progress;
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
  const progress = progressIn(snapshot);
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
      openings: progress.openings,
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
export function progressOf({ state }: Pick<CheckpointContent, "state">): Progress {
  return decodeJson<Progress>((state as CheckpointState).progress); // written by snapshotToContent, verified by its hash
}

/** What the model of a checkpoint expects to be done to its samples. */
export function preprocessingOf({ state }: CheckpointContent): Preprocessing {
  return (state as CheckpointState).preprocessing; // written by snapshotToContent, verified by its hash
}

/** The digests of what a checkpoint holds, computed from it alone: they must be those that its manifest names. */
export function digestsOf({ weights, optimizer, state }: CheckpointContent): { weights: string; state: string } {
  const { progress } = state as CheckpointState; // written by snapshotToContent, verified by its hash
  const hash = createHash("sha256");
  for (const { values } of weights) hash.update(bytesOf(values));
  const weightsDigest = `sha256:${hash.copy().digest("hex")}`;
  // A state's row holds the weights, and then the slots, in the order in which both are written.
  for (const { values } of optimizer) hash.update(bytesOf(values));
  return { weights: weightsDigest, state: `sha256:${hash.update(progress).digest("hex")}` };
}

type Layout = Pick<ComputeInfo, "weightCount" | "trainableCount" | "slotNames" | "parameters">;

/** The state in a checkpoint, in this model's layout; refuses one that was made by another model or optimizer. */
export function contentToSnapshot(content: CheckpointContent, info: Layout): StateSnapshot {
  const { progress } = content.state as CheckpointState; // written by snapshotToContent, verified by its hash
  const hint = "Undo the change of the model or the optimizer in the job file, or start a new run with --resume never.";
  const places: Placed[] = [];
  const take = taker(content, hint, (from, offset) => places.push({ from, offset }));
  takeWeights(content, info, take);
  for (const { name, shape, offset } of info.parameters) {
    if (offset >= info.trainableCount) continue;
    for (const [i, slot] of info.slotNames.entries()) {
      take(content.optimizer, `${slot}/${name}`, shape, info.weightCount + i * info.trainableCount + offset);
    }
  }
  const length = info.weightCount + info.slotNames.length * info.trainableCount;
  const values = rowInPlace(places, length) ?? new Float32Array(length);
  for (const { from, offset } of places) if (from.buffer !== values.buffer) values.set(from, offset);
  return { progress: encodeJson(decodeJson(progress)), values };
}

/** Values, and where in the row of a state they belong. */
interface Placed {
  readonly from: Float32Array;
  readonly offset: number;
}

/** The row that all of these lie in already, each in its place, as storage lays them down; null if they do not. */
function rowInPlace(places: readonly Placed[], length: number): Float32Array | null {
  const { buffer, byteOffset } = places.find(({ offset }) => offset === 0)?.from ?? new Float32Array(0);
  const size = Float32Array.BYTES_PER_ELEMENT;
  const isOne = places.every(
    ({ from, offset }) => from.buffer === buffer && from.byteOffset === byteOffset + offset * size,
  );
  return isOne && byteOffset + length * size <= buffer.byteLength ? new Float32Array(buffer, byteOffset, length) : null;
}

/** The weights in a checkpoint as a row of state whose slots are zero: for whoever does not train, whatever trained it. */
export function contentToWeights(content: CheckpointContent, info: Layout): Float32Array {
  const values = new Float32Array(info.weightCount + info.slotNames.length * info.trainableCount);
  const hint = "Use the job file that the checkpoint was trained with.";
  takeWeights(
    content,
    info,
    taker(content, hint, (from, offset) => values.set(from, offset)),
  );
  return values;
}

type Take = (tensors: readonly NamedTensor[], name: string, shape: readonly number[], offset: number) => void;

function taker(
  { manifest: { id } }: CheckpointContent,
  hint: string,
  put: (values: Float32Array, offset: number) => void,
): Take {
  return (tensors, name, shape, offset) => {
    const tensor = tensors.find((candidate) => candidate.name === name);
    if (tensor?.shape.join() !== shape.join()) {
      const has = `${tensor ? `[${tensor.shape.join(", ")}]` : "nothing"} for ${name}`;
      throw misfit(id, has, `has [${shape.join(", ")}]`, hint);
    }
    put(tensor.values, offset);
  };
}

function takeWeights({ manifest: { id }, weights }: CheckpointContent, { parameters }: Layout, take: Take): void {
  for (const { name, shape, offset } of parameters) take(weights, name, shape, offset);
  const extra = weights.find((tensor) => parameters.every(({ name }) => name !== tensor.name));
  const hint = "Use the job file that the checkpoint was trained with.";
  if (extra) throw misfit(id, `the weight ${extra.name}`, "has none of that name", hint);
}

function misfit(id: string, has: string, wants: string, hint: string): LockstepError {
  return new LockstepError("incompatible", `The checkpoint ${id} has ${has}, where the job ${wants}.`, { hint });
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
