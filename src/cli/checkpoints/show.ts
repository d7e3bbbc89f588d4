/** `lockstep checkpoints show`: one manifest, for people. */
import { listCheckpoints, manifestText } from "../../core/checkpoint-list.ts";
import { LockstepError } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import type { Arguments, Command } from "../command.ts";
import { shared } from "../common.ts";
import {
  ageText,
  findCheckpoints,
  monitorIn,
  resolveCheckpoint,
  whichCheckpoints,
  wordsOf,
} from "../find-checkpoints.ts";

export const show: Command = {
  name: "checkpoints show",
  summary: "Show a checkpoint's manifest: members, fingerprint, metrics, files with sizes and hashes.",
  argument: {
    name: "[JOB.ts] ID",
    help: "the job file, and the checkpoint: best, latest, an id or a part of it",
    most: 2,
  },
  options: { ...whichCheckpoints, json: shared.json },
  details: `Example:
  lockstep checkpoints show best --job digits

Reads no tensors; \`lockstep checkpoints verify\` does.`,
  run: runShow,
};

async function runShow(args: Arguments): Promise<number> {
  const { jobFile, ids } = wordsOf(args);
  const [word] = ids;
  if (word === undefined || ids.length > 1) {
    throw new LockstepError("usage", "Which checkpoint? One was expected: best, latest, an id, or a part of one.", {
      hint: "`lockstep checkpoints list` tells which there are.",
    });
  }
  const found = await findCheckpoints(args, jobFile);
  const id = resolveCheckpoint(found, word);
  const reason = found.corrupt.get(id);
  if (reason !== undefined) throw new CheckpointError("corrupt", reason);
  const stored = found.stored.find((one) => one.id === id);
  if (!stored) {
    throw new LockstepError("usage", `The checkpoint ${id} is ${word}, and is not in ${found.location}.`, {
      hint: "Name the folder that it is in with --checkpoints.",
    });
  }
  const [row] = listCheckpoints([stored], [], found.etcd, monitorIn(found) ?? "");
  if (args.flag("json")) {
    const { location, manifest, manifestSha256 } = stored;
    const is = found.etcd ? { is: row!.marks, pins: row!.pins } : {};
    process.stdout.write(`${JSON.stringify({ ...is, location, manifestSha256, manifest })}\n`);
    return 0;
  }
  const about = { marks: found.etcd ? row!.marks : null, pins: row!.pins, age: ageText(stored.manifest.writtenAt) };
  process.stdout.write(`${manifestText(stored, stored.location, about)}\n`);
  return 0;
}
