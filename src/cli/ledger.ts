/** `lockstep ledger`: which samples an epoch uses, and the weights' digest at every boundary and save. */
import { openDataset } from "../adapters/data/open-dataset.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { LockstepError } from "../core/errors.ts";
import { jobFields } from "../core/job-fields.ts";
import { ledgerOf } from "../core/ledger.ts";
import { exactnessOf } from "../core/records.ts";
import { readLedger } from "../runtime/read-ledger.ts";
import type { Arguments, Command } from "./command.ts";
import { dataDirectoryOf, shared } from "./common.ts";
import { withEtcdOf } from "./etcd-of-job.ts";

export const ledger: Command = {
  name: "ledger",
  summary: "Write which samples each step and shard of an epoch uses, and the weights' digests.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    epoch: { value: "E", help: "which epoch, from 1" },
    job: shared.job,
    data: shared.data,
    directory: { value: "DIR", help: "where the job's files are (default: runs/JOB)" },
    run: { value: "N", help: "which run of the job (default: the newest)" },
    etcd: { value: "URL,…", help: "the etcd of the run (default: that of the job's folder)" },
    shards: { value: "S", help: "logical shards; asks no etcd, so there are no digests" },
  },
  details:
    'Prints JSON lines. The first has the event "ledger" and what the samples follow from; then one for each step and\nshard, with indices into the data from 0; then the events "boundary" and "save" of the whole run, each with the\nweights\' digest.',
  run: runLedger,
};

async function runLedger(args: Arguments): Promise<number> {
  const epoch = args.whole("epoch", 1);
  if (epoch === undefined) throw new LockstepError("usage", "--epoch is missing: which epoch, counted from 1?");
  const shards = args.whole("shards", 1);
  const { job, directory, digest } = await loadJob(args.argument);
  const dataset = await openDataset(job.data, dataDirectoryOf(args, directory));
  const name = args.text("job") ?? job.name;
  const known =
    shards === undefined
      ? await withEtcdOf(args, name, (etcd) => readLedger(etcd, name, args.whole("run", 1) ?? null))
      : null;
  if (known) checkFields(jobFields({ ...job, epochs: known.record.epochs }), known.record.fields);
  const { seed, batchSize, validation } = job;
  const rules = { seed, samples: dataset.length, validation, batchSize, shards: shards ?? known!.record.shards };
  const equivalences = known?.equivalences ?? [];
  const run = known ? { run: known.record.run, exactness: exactnessOf(equivalences), equivalences } : {};
  print({ event: "ledger", job: name, epoch, ...rules, data: dataset.digest, source: digest, ...run });
  for (const line of ledgerOf(rules, epoch)) print(line);
  for (const entry of known?.entries ?? []) print(entry);
  return 0;
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The ledger of a run that is over is true only for the job that was run. */
function checkFields(now: Readonly<Record<string, string>>, then: Readonly<Record<string, string>>): void {
  const changed = Object.keys(now).find((field) => now[field] !== then[field]);
  if (changed === undefined) return;
  throw new LockstepError("incompatible", `${changed} was ${then[changed]} in the run and is ${now[changed]} now.`, {
    hint: "Use the job file that was run, or give --shards to see what this one would use.",
  });
}
