/** `lockstep checkpoints list`: what a run has kept. */
import { dirname } from "node:path";
import { loadJob } from "../../adapters/job-file/load-job.ts";
import { checkpointsTable, listCheckpoints } from "../../core/checkpoint-list.ts";
import { LockstepError } from "../../core/errors.ts";
import { settingsIn } from "../../core/settings.ts";
import type { Arguments, Command } from "../command.ts";
import { shared } from "../common.ts";
import {
  ageText,
  type FoundCheckpoints,
  findCheckpoints,
  monitorIn,
  whichCheckpoints,
  wordsOf,
} from "../find-checkpoints.ts";

export const list: Command = {
  name: "checkpoints list",
  summary: "List a run's checkpoints: where each is in training, how good, and what it is.",
  argument: { name: "[JOB.ts]", help: "the job file, where the job is not the only one in runs/", most: 1 },
  options: { ...whichCheckpoints, json: shared.json },
  details: `Example:
  lockstep checkpoints list digits.ts

Reads no tensors. "is" says: best or latest; pinned, nothing deletes it; condemned, it will be deleted; set aside,
it was read to the end and is not what was written, so that nothing goes on from it, and it stays until \`checkpoints prune
--set-aside\`; unpublished, it is whole and etcd has no record of it; missing, it is published and not there; corrupt, its
manifest is not what was written.`,
  run: runList,
};

async function runList(args: Arguments): Promise<number> {
  const { jobFile, ids } = wordsOf(args);
  if (ids.length > 0) {
    throw new LockstepError(
      "usage",
      `${JSON.stringify(ids[0])} is no job file; one that ends in .ts or .js was expected.`,
      {
        hint: `For one checkpoint use \`lockstep checkpoints show ${ids[0]}\`.`,
      },
    );
  }
  const found = await findCheckpoints(args, jobFile);
  const { stored, corrupt, etcd, location } = found;
  const monitor = await monitorOf(found, jobFile);
  const rows = listCheckpoints(stored, [...corrupt.keys()], etcd, monitor);
  if (args.flag("json")) {
    const run = etcd ? { job: etcd.record.job, run: etcd.record.run } : {};
    process.stdout.write(`${JSON.stringify({ ...run, location, etcd: etcd !== null, monitor, checkpoints: rows })}\n`);
    return 0;
  }
  // Where each worker has its own, what etcd names lies in one of them.
  const place = rows.some(({ holders }) => (holders?.here.length ?? 0) > 0) ? dirname(location) : location;
  const heading = etcd ? `Run ${etcd.record.run} of "${etcd.record.job}", in ${place}` : `In ${place}`;
  const notes = [
    ...(etcd ? [] : ["etcd was not asked, so nobody knows what is published, best, latest, pinned or condemned."]),
    ...[...corrupt].map(([id, reason]) => `${id} is corrupt: ${reason}`),
  ];
  const table = checkpointsTable(rows, monitor, etcd !== null, ageText);
  process.stdout.write(`${[heading, table, ...(notes.length > 0 ? [notes.join("\n")] : [])].join("\n\n")}\n`);
  return 0;
}

/** What the run monitors; where nobody says, what a job monitors that says nothing. */
async function monitorOf(found: FoundCheckpoints, jobFile: string | null): Promise<string> {
  const monitor = monitorIn(found);
  if (monitor !== null) return monitor;
  if (jobFile !== null) {
    const fingerprint = found.stored.at(-1)?.manifest.fingerprint;
    const settings = found.etcd?.record.settings ?? (fingerprint && settingsIn(fingerprint));
    return (await loadJob(jobFile, settings)).job.checkpoint.monitor;
  }
  return found.stored.some(({ manifest }) => manifest.metrics && "val_loss" in manifest.metrics) ? "val_loss" : "loss";
}
