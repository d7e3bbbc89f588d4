/** `lockstep ledger`: which samples an epoch uses, and the weights' digest at every boundary and save. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { startEtcd } from "../adapters/system/etcd-process.ts";
import { prepareEtcd } from "../adapters/system/etcd-program.ts";
import { createLog } from "../adapters/system/log.ts";
import { runningJobs } from "../adapters/system/run-registry.ts";
import { LockstepError } from "../core/errors.ts";
import { jobFields } from "../core/job-fields.ts";
import { ledgerOf } from "../core/ledger.ts";
import { exactnessOf } from "../core/records.ts";
import { type RunLedger, readLedger } from "../runtime/read-ledger.ts";
import type { Arguments, Command } from "./command.ts";
import { budgetOf, connectEtcd, dataDirectoryOf, parseEndpoints, shared } from "./common.ts";

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
  const known = shards === undefined ? await readRunLedger(args, name) : null;
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

/** From the etcd that is named, that of the running launch, or one that is started on the job's folder meanwhile. */
async function readRunLedger(args: Arguments, job: string): Promise<RunLedger> {
  const running = (await runningJobs()).find((run) => run.job === job);
  const given = args.text("etcd");
  if (given !== undefined) return readFrom(parseEndpoints(given));
  if (running) return readFrom(running.etcd);
  const dataDirectory = join(resolve(args.text("directory") ?? join("runs", job)), "etcd");
  if (!existsSync(dataDirectory)) {
    throw new LockstepError("usage", `There is no run of "${job}" in ${dataDirectory}.`, {
      hint: "Name the job's folder with --directory, its etcd with --etcd, or give --shards to need neither.",
    });
  }
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const { path: program } = await prepareEtcd(say);
  const log = createLog({ stream: process.stderr, format: "text", level: "error" });
  const server = await startEtcd({ program, dataDirectory, log, onExit: () => {} });
  try {
    return await readFrom([server.endpoint]);
  } finally {
    await server.stop();
  }

  async function readFrom(endpoints: readonly string[]): Promise<RunLedger> {
    const log = createLog({ stream: process.stderr, format: "text", level: "error" });
    const coordination = connectEtcd(endpoints, budgetOf(), log);
    try {
      return await readLedger(coordination, job, args.whole("run", 1) ?? null);
    } finally {
      await coordination.close();
    }
  }
}
