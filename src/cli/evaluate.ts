/** `lockstep evaluate`: loss and metrics of checkpoints on the job's test data, and the job's own report. */
import { dirname, resolve } from "node:path";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { openForReading } from "../adapters/fs/open-for-reading.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { engineEnvironment } from "../adapters/tfjs/engine-environment.ts";
import { prepareEngine } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError } from "../core/errors.ts";
import { RandomStream } from "../core/random.ts";
import { applyTransforms, invertIndex, outputShape, type Preprocessing, sizeOf } from "../core/transforms.ts";
import { evaluate as evaluateDataset } from "../runtime/evaluation.ts";
import { readLedger } from "../runtime/read-ledger.ts";
import { seededWhile } from "../ports/seeded.ts";
import { contentToSnapshot, preprocessingOf } from "../runtime/state.ts";
import type { Arguments, Command } from "./command.ts";
import { applyEnvironment, dataDirectoryOf, processLog, shared, wishOf } from "./common.ts";
import { etcdOfJob, withEtcdOf } from "./etcd-of-job.ts";
import { type OpenedProgram, openProgram } from "./open-program.ts";

export interface Evaluation {
  /** Metrics on the test data by checkpoint id; empty without test data. */
  readonly test: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** What the job file's `report` made with the first checkpoint. */
  readonly report: string | null;
}

export const evaluate: Command = {
  name: "evaluate",
  summary: "Evaluate checkpoints on the job's test data, and make the job's report with the first of them.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    checkpoints: { value: "DIR", help: "where the checkpoints are (default: where the newest run has them)" },
    checkpoint: { value: "ID", help: "which one; may be given several times (default: best)", multiple: true },
    job: shared.job,
    ...etcdOfJob,
    data: shared.data,
    engine: shared.engine,
    device: shared.device,
    threads: { value: "N", help: "compute threads (default: as in the run, or 1)" },
    shards: { value: "S", help: "logical shards (default: as in the run, or 1)" },
    "log-level": shared.logLevel,
  },
  run: runEvaluate,
};

async function runEvaluate(args: Arguments): Promise<number> {
  const { directory, ids, threads, shards } = await whatToEvaluate(args);
  const log = processLog(args);
  const choice = await prepareEngine(wishOf(args), (line) => log.info(line));
  applyEnvironment(engineEnvironment(choice, { threads, gpuIndex: choice.device === "gpu" ? 0 : null }));
  const jobPath = resolve(args.argument);
  const dataDirectory = dataDirectoryOf(args, dirname(jobPath));
  const opened = await openProgram(
    { jobPath, dataDirectory, choice, mayFallBack: args.text("engine") === undefined, threads, epochs: null },
    (line) => log.info(line),
  );
  const { job, program } = opened;
  const storage = await openForReading(resolve(directory), log);
  const dataset = job.test && (await openDataset(job.test, dataDirectory));
  const test: Record<string, Record<string, number>> = {};
  let report: string | null = null;
  const layout = {
    weightCount: program.weightCount,
    trainableCount: program.trainableCount,
    slotNames: program.slotNames,
    parameters: program.parameters,
  };
  for (const [i, id] of ids.entries()) {
    const content = await storage.load(id);
    const preprocessing = preprocessingOf(content);
    program.load(contentToSnapshot(content, layout).values);
    if (i === 0 && job.report) report = await reportOf(opened, preprocessing);
    if (dataset)
      test[id] = evaluateDataset(program, preprocessing, dataset, {
        seed: job.seed,
        shards,
        batchSize: job.batchSize,
      });
  }
  const evaluation: Evaluation = { test, report };
  if (process.send) process.send({ event: "evaluated", ...evaluation });
  else process.stdout.write(`${JSON.stringify(evaluation, null, 2)}\n`);
  return 0;
}

interface Target {
  readonly directory: string;
  readonly ids: readonly string[];
  readonly threads: number;
  readonly shards: number;
}

/** The checkpoints that are named, or the best one of the job's newest run. */
async function whatToEvaluate(args: Arguments): Promise<Target> {
  const directory = args.text("checkpoints");
  const ids = args.list("checkpoint");
  const [threads, shards] = [args.whole("threads", 1), args.whole("shards", 1)];
  if (directory && ids.length > 0) return { directory, ids, threads: threads ?? 1, shards: shards ?? 1 };
  const job = args.text("job") ?? (await loadJob(args.argument)).job.name;
  return withEtcdOf(args, job, async (etcd) => {
    const { record, pointers } = await readLedger(etcd, job, null);
    const pointer = pointers.best ?? pointers.latest;
    if (!pointer) throw new LockstepError("usage", `Run ${record.run} of "${job}" has no checkpoint yet.`);
    return {
      directory: directory ?? dirname(pointer.location),
      ids: ids.length > 0 ? ids : [pointer.id],
      threads: threads ?? record.threads,
      shards: shards ?? record.shards,
    };
  });
}

async function reportOf(
  { engine, job, program }: OpenedProgram,
  { features, label }: Preprocessing,
): Promise<string | null> {
  const { tf } = engine;
  program.useWeights();
  const random = new RandomStream(job.seed, "report");
  const { shape } = features;
  return seededWhile(random, async () =>
    job.report!({
      tf,
      model: program.model,
      random: () => random.nextFloat(),
      encodeFeatures(rows) {
        const values = Float32Array.from(rows.flat());
        if (values.length !== rows.length * sizeOf(shape)) {
          throw new LockstepError(
            "invalid-job",
            `encodeFeatures was given ${values.length} values for ${rows.length} rows; a row has ${sizeOf(shape)}.`,
          );
        }
        return tf.tensor(applyTransforms(features, values, rows.length), [rows.length, ...outputShape(features)]);
      },
      decodeLabel: (index) => invertIndex(label, index),
    }),
  );
}
