/** `lockstep ledger`: which samples an epoch uses, and the weights' digest at every boundary and save. */
import { type JobData, openJobData } from "../adapters/data/open-job-data.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { createLog } from "../adapters/system/log.ts";
import { LockstepError } from "../core/errors.ts";
import { changedField } from "../core/fingerprint.ts";
import { jobFields } from "../core/job-fields.ts";
import {
  continueSampling,
  type LedgerRules,
  ledgerParts,
  type Sampling,
  type SplitOf,
  splitByRule,
} from "../core/ledger.ts";
import { exactnessOf } from "../core/records.ts";
import { hasNone, settingsWords } from "../core/settings.ts";
import { isPlainRule, splitRule } from "../core/validation-split.ts";
import { splitDataset } from "../runtime/prepared-data.ts";
import { type RunLedger, readLedger } from "../runtime/read-ledger.ts";
import { progressOf } from "../runtime/state.ts";
import type { Arguments, Command } from "./command.ts";
import { dataPlaceOf, settingsOf, shared } from "./common.ts";
import { etcdOfJob, withEtcdOf } from "./etcd-of-job.ts";
import { isInReach, openPlace, placeOf } from "./open-storage.ts";

export const ledger: Command = {
  name: "ledger",
  summary: "Write which samples each step and shard of an epoch uses, and the weights' digests.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    epoch: { value: "E", help: "which epoch, from 1" },
    job: shared.job,
    set: { ...shared.set, help: "with --shards: what the run to come is told" },
    param: { ...shared.param, help: "the same, of the job's parameters" },
    data: shared.data,
    "data-memory": shared.dataMemory,
    ...etcdOfJob,
    run: { value: "N", help: "which run of the job (default: the one that was trained last)" },
    shards: { value: "S", help: "logical shards; asks no etcd, so a run to come will do, and there are no digests" },
  },
  details:
    'Prints JSON lines. The first has the event "ledger" and what the samples follow from; then one for each step and\nshard, with indices into the data from 0, and the event "change" where something else held from some step of the\nepoch on; then the events "boundary" and "save" of the whole run, each with the weights\' digest.',
  run: runLedger,
};

async function runLedger(args: Arguments): Promise<number> {
  const epoch = args.whole("epoch", 1);
  if (epoch === undefined) throw new LockstepError("usage", "--epoch is missing: which epoch, counted from 1?");
  const shards = args.whole("shards", 1);
  const number = args.whole("run", 1) ?? null;
  if (shards !== undefined && number !== null) {
    throw new LockstepError("usage", "--run and --shards contradict each other: a run has shards of its own.", {
      hint: "Leave out --shards for what a run has used, or --run for what one to come would use.",
    });
  }
  const asked = settingsOf(args);
  if (shards === undefined && !hasNone(asked)) {
    throw new LockstepError("usage", `${settingsWords(asked).join(" ")} is given, and a run knows what it was told.`, {
      hint: "Leave it out, or give --shards for a run to come.",
    });
  }
  const asWritten = await loadJob(args.argument, asked);
  const name = args.text("job") ?? asWritten.job.name;
  const known = shards === undefined ? await withEtcdOf(args, name, (etcd) => readLedger(etcd, name, number)) : null;
  const { job, directory, digest } = known ? await loadJob(args.argument, known.record.settings) : asWritten;
  const dataset = await openJobData(job, dataPlaceOf(args, directory));
  if (known) {
    const { run, epochs } = known.record;
    if (epoch > epochs) {
      throw new LockstepError("usage", `--epoch is ${epoch}, but run ${run} of "${name}" has ${epochs} epochs.`, {
        hint: `Give one from 1 to ${epochs}; with --shards, this tells of any epoch of a run to come.`,
      });
    }
    checkFields(jobFields({ ...job, epochs: known.record.epochs }), known.record.fields);
    if (known.dataDigest !== null) checkFields({ "data.digest": dataset.digest }, { "data.digest": known.dataDigest });
  }
  const { seed, batchSize, validation } = job;
  const rules = {
    seed,
    samples: dataset.length,
    validation: splitRule(validation),
    batchSize,
    shards: shards ?? known!.record.shards,
  };
  const samplings = await samplingsOf(known, { ...rules, data: dataset.digest });
  const equivalences = known?.equivalences ?? [];
  const run = known ? { run: known.record.run, exactness: exactnessOf(equivalences), equivalences } : {};
  for (const [i, { sampling, firstStep, lines }] of ledgerParts(samplings, epoch, splitOf(dataset)).entries()) {
    const { seed, samples, validation, batchSize, shards, data } = sampling;
    const now = { seed, samples, validation, batchSize, shards, data };
    if (i === 0) print({ event: "ledger", job: name, epoch, ...now, source: digest, ...run });
    else print({ event: "change", epoch, step: firstStep, ...now });
    for (const line of lines) print(line);
  }
  for (const entry of known?.entries ?? []) print(entry);
  return 0;
}

/** Of a run in which one of these has changed, its newest checkpoint remembers where. */
const decideSamples = ["job.seed", "job.batchSize", "job.validation", "shards", "data.digest"];

/** From where on which rules hold: all along those of today, unless the run has gone through a change of them. */
async function samplingsOf(
  known: RunLedger | null,
  rules: LedgerRules & { readonly data: string },
): Promise<readonly Sampling[]> {
  const whole = continueSampling([], rules, { step: 0, epoch: 0, used: 0 });
  const change = known?.equivalences.find((reason) => decideSamples.includes(changedField(reason)));
  const latest = known?.pointers.latest;
  if (change === undefined || !latest) return whole;
  // Where each worker has its own, another one's folder may be on this machine.
  if (!isInReach(latest.location) && latest.holders === undefined) {
    throw new LockstepError(
      "incompatible",
      `Where ${change} is told by the checkpoint ${latest.id}, which is not at ${latest.location}.`,
      { hint: "Run this on a machine that has the run's checkpoints there." },
    );
  }
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const storage = await openPlace(placeOf(latest), log);
  const { samplings, step, epoch, samples: used } = progressOf(await storage.load(latest.id));
  // Whoever changes something begins from the newest checkpoint: what it does not know of yet begins there.
  return continueSampling(samplings ?? [], rules, { step, epoch, used });
}

/** Some rules go by what is in the data, which is at hand where it is the data of that time. */
function splitOf(dataset: JobData): SplitOf {
  return (sampling) => {
    const { validation, data, seed } = sampling;
    if (isPlainRule(validation) || data !== dataset.digest) return splitByRule(sampling);
    return splitDataset(dataset, seed, validation);
  };
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The ledger of a run that is over is true only for the job that was run. */
function checkFields(now: Readonly<Record<string, string>>, then: Readonly<Record<string, string>>): void {
  const changed = Object.keys(now).find((field) => now[field] !== then[field]);
  if (changed === undefined) return;
  throw new LockstepError("incompatible", `${changed} was ${then[changed]} in the run and is ${now[changed]} now.`, {
    hint: "Use the job file and the data of the run, or give --shards to see what this one would use.",
  });
}
