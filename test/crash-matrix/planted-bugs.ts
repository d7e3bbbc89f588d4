/**
 * What the matrix must be able to find: each of these is a small change of the sources. `find` occurs exactly once in its
 * file; with `replace` in its place, a cell of this fault fails.
 */
import type { FaultKind } from "./matrix.ts";

export interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly fault: FaultKind;
  /** Where that is, if the other places are only in the way. */
  readonly at?: string;
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "files are not synced before the rename",
    file: "src/adapters/fs/hashed-file.ts",
    find: "  await file.sync();\n",
    replace: "",
    fault: "power-loss",
  },
  {
    name: "the staging folder is not synced before the rename",
    file: "src/adapters/fs/checkpoint-storage.ts",
    find: '      await accessing("unwritable", staging, () => this.#fileSystem.syncDirectory(staging));\n',
    replace: "",
    fault: "power-loss",
  },
  {
    name: "a checkpoint is published before its name is durable",
    file: "src/adapters/fs/checkpoint-storage.ts",
    find: '      await accessing("unwritable", this.#root, () => this.#fileSystem.syncDirectory(this.#root));\n',
    replace: "",
    fault: "power-loss",
  },
  {
    name: "a manifest's removal is not synced before its files go",
    file: "src/adapters/fs/remove-checkpoint.ts",
    find: "  await fileSystem.syncDirectory(location).catch(",
    replace: "  await Promise.resolve().catch(",
    fault: "power-loss",
    at: "syncDirectory ROOT #2",
  },
  {
    name: "what was written is not verified",
    file: "src/adapters/fs/checkpoint-storage.ts",
    find: "      await this.#reader.verify(manifest, parts);\n",
    replace: "",
    fault: "flip-on-the-way",
  },
  {
    name: "a hash is not compared",
    file: "src/adapters/fs/checkpoint-reader.ts",
    find: "if (sha256 !== expected.sha256) {",
    replace: "if (sha256 === undefined) {",
    fault: "flipped-bit",
  },
  {
    name: "a short write is taken for a whole one",
    file: "src/adapters/fs/hashed-file.ts",
    find: "    left = without(left, count);",
    replace: "    left = [];",
    fault: "short-write",
  },
  {
    name: "publishing does not compare the token",
    file: "src/runtime/leadership.ts",
    find: "        ...asLeader(keys, token, state),\n        unchanged(keys.latest, state.latest),",
    replace: "        unchanged(keys.latest, state.latest),",
    fault: "stopped-leader",
  },
  {
    name: "of what is deleted the manifest is not the first to go",
    file: "src/adapters/fs/remove-checkpoint.ts",
    find: "removeFile(join(location, manifestName))",
    replace: 'removeFile(join(location, "weights.safetensors"))',
    fault: "sigkill",
  },
  {
    name: "what is pinned is deleted all the same",
    file: "src/runtime/prune.ts",
    find: "keptCheckpoints(record.checkpoint.keep, live, { latest, best, pinned })",
    replace: "keptCheckpoints(record.checkpoint.keep, live, { latest, best, pinned: new Set() })",
    fault: "reader-while-pruned",
  },
  {
    name: "what is rebuilt begins at the oldest checkpoint",
    file: "src/runtime/rebuild-run.ts",
    find: "sort((a, b) => compareStates(b.manifest, a.manifest))",
    replace: "sort((a, b) => compareStates(a.manifest, b.manifest))",
    fault: "etcd-lost",
    at: "transact publish",
  },
  {
    name: "what a dead writer has begun is left",
    file: "src/runtime/prune.ts",
    find: "(place.generation <= after || place.fencingToken < token)",
    replace: "place.generation <= after",
    fault: "sigkill",
    at: "rename STAGING",
  },
];
