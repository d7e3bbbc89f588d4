/** `lockstep checkpoints pin` and `unpin`: what nothing deletes. */
import { userInfo } from "node:os";
import { LockstepError } from "../../core/errors.ts";
import { keysOf } from "../../core/keys.ts";
import { CheckpointError, isPlainName } from "../../core/manifest.ts";
import { pin as pinCheckpoint, unpin as unpinCheckpoint } from "../../runtime/pins.ts";
import type { RunCheckpoints } from "../../runtime/read-checkpoints.ts";
import type { Arguments, Command } from "../command.ts";
import { withEtcdOf } from "../etcd-of-job.ts";
import { findCheckpoints, resolveCheckpoint, whichCheckpoints, wordsOf } from "../find-checkpoints.ts";

const argument = {
  name: "[JOB.ts] ID",
  help: "the job file, and the checkpoint: best, latest, an id or a part of it",
  most: 2,
};

/** Readers' pins are leased, and go with whoever reads. */
const readerPrefix = "reader-";

export const pin: Command = {
  name: "checkpoints pin",
  summary: "Keep a checkpoint until it is unpinned, whatever the job keeps; also while the job runs.",
  argument,
  options: {
    ...whichCheckpoints,
    name: { value: "NAME", help: "the pin's own name, so that several may keep one (default: your user name)" },
    note: { value: "TEXT", help: "why, for people" },
  },
  details: "Example:\n  lockstep checkpoints pin best --job digits --name paper",
  run: runPin,
};

export const unpin: Command = {
  name: "checkpoints unpin",
  summary: "Take a pin away.",
  argument,
  options: {
    ...whichCheckpoints,
    name: { value: "NAME", help: "which pin (default: the only one)" },
  },
  details: "Example:\n  lockstep checkpoints unpin best --job digits --name paper",
  run: runUnpin,
};

async function runPin(args: Arguments): Promise<number> {
  const name = args.text("name") ?? userName();
  if (!isPlainName(name) || name.startsWith(readerPrefix)) {
    throw new LockstepError(
      "usage",
      `--name is ${JSON.stringify(name)}; letters, digits, "-", "_" and "." were expected, and no "${readerPrefix}" before them.`,
    );
  }
  const { id, etcd } = await which(args);
  const note = args.text("note") ?? "pinned by hand";
  try {
    await withEtcdOf(args, etcd.record.job, (coordination) =>
      pinCheckpoint({ coordination, keys: keysOf(etcd.record.job, etcd.record.run) }, id, name, { note }),
    );
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new LockstepError("usage", error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
  process.stdout.write(`${id} is pinned as ${name}.\n`);
  return 0;
}

async function runUnpin(args: Arguments): Promise<number> {
  const { id, etcd } = await which(args);
  const pins = (etcd.pins.get(id) ?? []).filter((name) => !name.startsWith(readerPrefix));
  const name = args.text("name") ?? pins[0];
  if (name === undefined || !pins.includes(name)) {
    const wanted = name === undefined ? "is not pinned" : `has no pin ${JSON.stringify(name)}`;
    throw new LockstepError("usage", `The checkpoint ${id} ${wanted}.`, {
      ...(pins.length > 0 ? { hint: `Its pins are: ${pins.join(", ")}.` } : {}),
    });
  }
  if (args.text("name") === undefined && pins.length > 1) {
    throw new LockstepError("usage", `The checkpoint ${id} has ${pins.length} pins: ${pins.join(", ")}.`, {
      hint: "Say which one with --name.",
    });
  }
  await withEtcdOf(args, etcd.record.job, (coordination) =>
    unpinCheckpoint({ coordination, keys: keysOf(etcd.record.job, etcd.record.run) }, id, name),
  );
  const rest = pins.filter((other) => other !== name);
  process.stdout.write(
    `${id} is no longer pinned as ${name}${rest.length > 0 ? `, but as ${rest.join(", ")}` : ""}.\n`,
  );
  return 0;
}

async function which(args: Arguments): Promise<{ id: string; etcd: RunCheckpoints }> {
  const { jobFile, ids } = wordsOf(args);
  const [word] = ids;
  if (word === undefined || ids.length > 1) {
    throw new LockstepError("usage", "Which checkpoint? One was expected: best, latest, an id, or a part of one.", {
      hint: "`lockstep checkpoints list` tells which there are.",
    });
  }
  const found = await findCheckpoints(args, jobFile);
  if (!found.etcd) {
    throw new LockstepError("usage", `Pins are in etcd, and what etcd knows of ${found.location} is not known.`, {
      hint: "Name the job with --job, or its etcd with --etcd.",
    });
  }
  return { id: resolveCheckpoint(found, word), etcd: found.etcd };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "operator"; // a user id without a name, as containers have
  }
}
