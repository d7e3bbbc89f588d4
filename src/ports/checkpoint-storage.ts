import type { CheckpointError, Manifest } from "../core/manifest.ts";

/** Durable, verified, immutable checkpoints in one place. Ids are never reused. */
export interface CheckpointStorage {
  /**
   * Writes a checkpoint so that it is whole and durable, or not there at all: files into a staging place, each made
   * durable, the manifest last, one rename, then read back and verified. Returns where it lies. It is published by
   * nobody yet. Fails without leaving a half-written checkpoint that `load` or `list` would accept.
   */
  write(content: CheckpointContent): Promise<StoredCheckpoint>;
  /**
   * Reads a checkpoint and verifies size and SHA-256 of every file; "corrupt-checkpoint" names the first that differs. Whoever
   * does not want it any more aborts the signal.
   */
  load(id: string, over?: AbortSignal): Promise<CheckpointContent>;
  /**
   * Reads a checkpoint and verifies it as `load` does, but keeps nothing of it, whatever its size: for whoever only wants to know
   * whether it is what its manifest says, and whose manifest that is.
   */
  check(id: string): Promise<StoredCheckpoint>;
  /** The manifests of all whole checkpoints, oldest first by (lineage, era, step). Does not read the tensors. */
  list(): Promise<readonly StoredCheckpoint[]>;
  /** Removes a checkpoint: first its manifest, then the rest. Absent ids are no error; nor is one of which only parts are there. */
  delete(id: string): Promise<void>;
  /**
   * The ids under which parts of a checkpoint lie and no manifest: it is being written, or its writer died, or who deleted it.
   * Absent where each writer removes its own.
   */
  unfinished?(): Promise<readonly string[]>;
  /**
   * Reads each copy as `check` does, those that are not there left out. Absent where there is only one place.
   * @param manifestSha256 of the one that is meant: what has another manifest is another checkpoint. Null: nobody knows it
   */
  copies?(id: string, manifestSha256: string | null): Promise<readonly CheckpointCopy[]>;
}

/** What one of several places has of a checkpoint. */
export interface CheckpointCopy {
  readonly location: string;
  /** Null: it is whole. */
  readonly wrong: CheckpointError | null;
}

export interface StoredCheckpoint {
  readonly id: string;
  /** Where a person finds it: an absolute path or a URL. */
  readonly location: string;
  /** SHA-256 of the manifest file, in hex. */
  readonly manifestSha256: string;
  readonly manifest: Manifest;
  /** The names of the workers that have it on disks of their own, the writer first; absent where all share one place. */
  readonly holders?: readonly string[];
}

export interface CheckpointContent {
  /** All but `files`, which storage fills in. */
  readonly manifest: Omit<Manifest, "files">;
  /** The model's weights in the model's order; float32. */
  readonly weights: readonly NamedTensor[];
  /** The optimizer's slots, named `<slot>/<weight>`; empty for an optimizer that has none. */
  readonly optimizer: readonly NamedTensor[];
  /** Everything else that training resumes from; JSON. */
  readonly state: unknown;
}

/** All but the tensors. */
export type CheckpointWords = Pick<CheckpointContent, "manifest" | "state">;

/** What a run can be rebuilt from. */
export interface RunSources {
  /** The manifests of one run, oldest first. */
  checkpointsOf(run: number): Promise<readonly StoredCheckpoint[]>;
  /** As `CheckpointStorage.load`, but for the tensors: they are verified as all else. */
  load(run: number, id: string): Promise<CheckpointWords>;
}

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}
