/** `lockstep evaluate`: loss and metrics of checkpoints on the job's test data, and the job's own report. */
import { existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { type Known, knownOf } from "../core/columns.ts";
import { LockstepError } from "../core/errors.ts";
import type { DataSource, Job } from "../core/job.ts";
import { encodeJson } from "../core/json.ts";
import { labelDecoder, textEncoder } from "../core/prediction.ts";
import { RandomStream } from "../core/random.ts";
import { sourceFrom } from "../core/source-validation.ts";
import { applyTransforms, outputShape, type Preprocessing, shapeDifference, sizeOf } from "../core/transforms.ts";
import type { DataPlace, Dataset } from "../ports/dataset.ts";
import { seededWhile } from "../ports/seeded.ts";
import { evaluate as evaluateDataset } from "../runtime/evaluation.ts";
import type { Arguments, Command } from "./command.ts";
import { dataPlaceOf, shared } from "./common.ts";
import { whichCheckpoints } from "./find-checkpoints.ts";
import {
  chooseCheckpoints,
  computing,
  type OpenedCheckpoint,
  openCheckpoint,
  withCheckpoint,
} from "./open-checkpoint.ts";

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
    checkpoint: {
      value: "ID",
      help: "best, latest, an id or a part of it; may be given several times (default: best, or latest while nothing is best)",
      multiple: true,
    },
    data: { value: "DIR|FILE", help: `${shared.data.help}; or a file to evaluate on instead of the job's test data` },
    "data-memory": shared.dataMemory,
    ...whichCheckpoints,
    ...computing,
    shards: { value: "S", help: "logical shards (default: as in the run, or 1)" },
  },
  details: `Example:
  lockstep evaluate digits.ts --checkpoint best --checkpoint latest

Samples go through the pre-processing that is in the checkpoint; training data is not needed.`,
  run: runEvaluate,
};

async function runEvaluate(args: Arguments): Promise<number> {
  const jobFile = args.argument;
  checkGiven(args.text("data"));
  const { found, ids } = await chooseCheckpoints(args, jobFile, args.list("checkpoint"));
  const shards = args.whole("shards", 1) ?? found.etcd?.record.shards ?? 1;
  const jobDirectory = dirname(resolve(jobFile));
  let opened = await openCheckpoint(args, jobFile, found, await found.load(ids[0]!));
  const report = opened.job.report ? await reportOf(opened) : null;
  let open = testData(args, opened.job, jobDirectory);
  if (!open && !opened.job.report) {
    throw new LockstepError(
      "usage",
      `The job "${opened.job.name}" has neither test data nor a report, so there is nothing to evaluate.`,
      {
        hint: "Name a file with --data, or give the job `test`.",
      },
    );
  }
  const test: Record<string, Record<string, number>> = {};
  for (const id of ids) {
    if (id !== ids[0]) {
      const before = opened;
      opened = await withCheckpoint(before, await found.load(id), (content) =>
        openCheckpoint(args, jobFile, found, content, before),
      );
      if (opened.job !== before.job) open = testData(args, opened.job, jobDirectory);
    }
    if (open === null) continue;
    const { job, program, preprocessing } = opened;
    const settings = { seed: job.seed, shards, batchSize: job.batchSize };
    const dataset = await open(knownOf(preprocessing.columns));
    test[id] = evaluateDataset(program, fitting(preprocessing, dataset, id), dataset, settings);
  }
  const evaluation: Evaluation = { test, report };
  if (process.send) process.send({ event: "evaluated", ...evaluation });
  else process.stdout.write(`${JSON.stringify(evaluation, null, 2)}\n`);
  return 0;
}

function checkGiven(data: string | undefined): void {
  if (data === undefined || existsSync(data)) return;
  throw new LockstepError("usage", `--data is ${data}, and there is neither a file nor a folder ${resolve(data)}.`, {
    hint: "Name a file to evaluate on, or the folder of the job's data.",
  });
}

/** The job's test data, or a file of the same kind as its training data; null where there is neither. */
function testData(args: Arguments, job: Job, jobDirectory: string): OpenTest | null {
  const given = args.text("data");
  const place = dataPlaceOf(args, jobDirectory);
  if (given === undefined || !statSync(given, { throwIfNoEntry: false })?.isFile()) {
    return job.test && openedOnce(job.test, place);
  }
  const source = sourceFrom(job.data, resolve(given));
  if (source === null) {
    throw new LockstepError(
      "usage",
      `--data is the file ${given}, and the job's data ${job.data.kind === "dataset" ? "comes from a function" : "is in two files, features and label"}.`,
      {
        hint:
          job.data.kind === "dataset"
            ? "Give the job `test`, another dataset({ … })."
            : "Name two files as `test` in the job file, and the folder with them as --data.",
      },
    );
  }
  return openedOnce(source, { ...place, directory: jobDirectory });
}

/** Reads the data as a checkpoint reads it, which knows this of its training data. */
type OpenTest = (known: Known) => Promise<Dataset>;

/** Checkpoints of one run have the same dictionaries. */
function openedOnce(source: DataSource, { directory, memoryBytes }: DataPlace): OpenTest {
  const opened = new Map<string, Promise<Dataset>>();
  return (known) => {
    const key = encodeJson(known);
    const dataset = opened.get(key) ?? openDataset(source, directory, { ...known, memoryBytes });
    opened.set(key, dataset);
    return dataset;
  };
}

/** Pre-processing that takes such samples. */
function fitting(preprocessing: Preprocessing, dataset: Dataset, id: string): Preprocessing {
  const difference = shapeDifference(dataset, preprocessing);
  if (difference === null) return preprocessing;
  const { what, has, wants } = difference;
  throw new LockstepError(
    "invalid-data",
    `The data has ${has} ${what} a sample, and the checkpoint ${id} was trained with ${wants}.`,
    { hint: "Both need the same columns." },
  );
}

async function reportOf({ engine, job, program, preprocessing }: OpenedCheckpoint): Promise<string | null> {
  const { tf } = engine;
  const { features } = preprocessing;
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
      encodeText: textEncoder(preprocessing.columns),
      decodeLabel: labelDecoder(preprocessing),
    }),
  );
}
