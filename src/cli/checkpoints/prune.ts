/** `lockstep checkpoints prune`: deletes what the job does not keep. */
import { loadJob } from "../../adapters/job-file/load-job.ts";
import { LockstepError } from "../../core/errors.ts";
import { failureBudget } from "../../core/failure-budget.ts";
import { keysOf } from "../../core/keys.ts";
import { formatCount } from "../../core/number-format.ts";
import { table } from "../../core/summary-table.ts";
import { planPrune, pruneByHand } from "../../runtime/prune-by-hand.ts";
import type { Arguments, Command } from "../command.ts";
import { newId, shared } from "../common.ts";
import { withEtcdOf } from "../etcd-of-job.ts";
import { findCheckpoints, whichCheckpoints, wordsOf } from "../find-checkpoints.ts";

export const prune: Command = {
  name: "checkpoints prune",
  summary: "Delete the checkpoints that the job does not keep, while nobody trains it.",
  argument: { name: "[JOB.ts]", help: "the job file, whose `keep` then counts instead of the run's own", most: 1 },
  options: {
    ...whichCheckpoints,
    "set-aside": { value: null, help: "delete those too that were found corrupt, and set aside" },
    "earlier-eras": { value: null, help: "delete those too that etcd has lost the record of" },
    "dry-run": { value: null, help: "only tell what would be deleted, and why the others stay; at any time" },
    json: shared.json,
  },
  details: `Example:
  lockstep checkpoints prune --job digits --dry-run

best, latest and what is pinned always stay. What goes is condemned in etcd first, and then deleted, also what a dead leader
has left unpublished. What was found corrupt and set aside stays, for people to look at, unless --set-aside is given; so does what
is from before etcd's data were lost and has no record since, unless --earlier-eras is given. Refused with
exit code 7 while the run is active: its leader does the same with every checkpoint, but never deletes what is set aside.`,
  run: runPrune,
};

async function runPrune(args: Arguments): Promise<number> {
  const { jobFile, ids } = wordsOf(args);
  if (ids.length > 0) {
    throw new LockstepError("usage", `${JSON.stringify(ids[0])} is no job file; what is kept is not said by id.`, {
      hint: "Pin what should stay with `lockstep checkpoints pin`, and unpin what may go.",
    });
  }
  const { etcd, etcdHint, storage, location } = await findCheckpoints(args, jobFile);
  if (!etcd) {
    throw new LockstepError(
      "usage",
      `Nothing in ${location} is deleted without etcd, which knows what is published and pinned.`,
      { hint: etcdHint },
    );
  }
  const { record } = etcd;
  const keep =
    jobFile === null ? record.checkpoint.keep : (await loadJob(jobFile, record.settings)).job.checkpoint.keep;
  const held = { ...record, checkpoint: { ...record.checkpoint, keep } };
  const isDry = args.flag("dry-run");
  const wish = { setAside: args.flag("set-aside"), earlierEras: args.flag("earlier-eras") };
  const verdicts = await withEtcdOf(args, record.job, async (coordination) => {
    const options = { record: held, keys: keysOf(record.job, record.run), coordination, storage };
    const plan = await planPrune(options, wish);
    if (!isDry) await pruneByHand(options, wish, failureBudget(record.budgetMs), `prune.${newId()}`);
    return plan;
  });
  const gone = verdicts.filter(({ fate }) => fate === "deleted").length;
  if (args.flag("json")) {
    process.stdout.write(`${JSON.stringify({ dryRun: isDry, deleted: gone, checkpoints: verdicts })}\n`);
    return 0;
  }
  const fates = { kept: "kept", deleted: isDry ? "would go" : "deleted" };
  const rows = verdicts.map(({ id, step, fate, reason }) => [id, formatCount(step), fates[fate], reason]);
  process.stdout.write(`${table([["id", "step", "", "because"], ...rows], [1])}\n`);
  return 0;
}
