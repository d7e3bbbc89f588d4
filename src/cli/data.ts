/** `lockstep data`: what was read from a job's data files. */
import { resolve } from "node:path";
import { openDataset } from "../adapters/data/open-dataset.ts";
import { openJobData } from "../adapters/data/open-job-data.ts";
import { loadJob } from "../adapters/job-file/load-job.ts";
import { isS3Location } from "../adapters/s3/location.ts";
import { dataText } from "../adapters/terminal/data-table.ts";
import { knownOf, partsOf, rawColumns } from "../core/columns.ts";
import { type DataColumn, DataSummary } from "../core/data-summary.ts";
import type { DataSource, Job } from "../core/job.ts";
import { sizeOf } from "../core/transforms.ts";
import { describedRule, splitRule } from "../core/validation-split.ts";
import type { DescribedDataset } from "../ports/dataset.ts";
import { splitDataset } from "../runtime/prepared-data.ts";
import type { DataReport, ShownValue } from "../core/data-report.ts";
import type { Arguments, Command } from "./command.ts";
import { dataPlaceOf, settingsOf, shared } from "./common.ts";

export const data: Command = {
  name: "data",
  summary: "Show what a job's data is: files, columns, ranges, classes, the split, a few samples.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    set: shared.set,
    param: shared.param,
    data: shared.data,
    "data-memory": shared.dataMemory,
    json: shared.json,
  },
  details: "Reads all of it, before pre-processing; needs no engine and starts nothing.",
  run: runData,
};

/** Rows that are read at once: bounds the memory, and decides nothing. */
const rowsAtOnce = 1024;
const samplesShown = 3;

async function runData(args: Arguments): Promise<number> {
  const { job, directory } = await loadJob(args.argument, settingsOf(args));
  const place = dataPlaceOf(args, directory);
  const data = await openJobData(job, place);
  const { memoryBytes } = place;
  const known = { ...knownOf(rawColumns(data.columns.features, data.columns.label)), memoryBytes };
  const training = reportOf(job.data, data, job);
  const test =
    job.test && reportOf(job.test, await openDataset(job.test, place.directory, known), { ...job, validation: null });
  const weights = job.initialWeights;
  const initialWeights = weights === null || isS3Location(weights) ? weights : resolve(place.directory, weights);
  const report = { job: job.name, data: training, test, initialWeights };
  process.stdout.write(args.flag("json") ? `${JSON.stringify(report)}\n` : `${dataText(report)}\n`);
  return 0;
}

function reportOf(
  source: DataSource,
  dataset: DescribedDataset & { readonly own?: number },
  { seed, validation }: Pick<Job, "seed" | "validation">,
): DataReport {
  const split = splitDataset(dataset, seed, splitRule(validation));
  const { columns } = dataset;
  const summary = new DataSummary(columns.features, columns.label, columns.weight ?? null);
  for (const part of ["training", "validation"] as const) {
    for (let begin = 0; begin < split[part].length; begin += rowsAtOnce) {
      summary.add(part, dataset.read(split[part].subarray(begin, begin + rowsAtOnce)));
    }
  }
  const first = Array.from({ length: Math.min(samplesShown, dataset.length) }, (_, index) => {
    const { features, label } = dataset.read([index]);
    return { features: shown(features, dataset.columns.features), label: shown(label, partsOf(dataset.columns.label)) };
  });
  return {
    format: source.kind,
    files: dataset.files,
    digest: dataset.digest,
    samples: dataset.length,
    split: {
      training: split.training.length,
      validation: split.validation.length,
      take: validation && describedRule(validation),
    },
    shapes: { features: dataset.features.shape, label: dataset.label.shape },
    features: summary.features,
    label: summary.label,
    weight: summary.weight,
    classes: summary.classes,
    first,
  };
}

/** Texts in place of their codes; and nothing for the room behind a text's end. */
function shown(values: Float32Array, columns: readonly DataColumn[]): ShownValue[] {
  let at = 0;
  return columns.flatMap(({ shape, texts, type }) => {
    const own = Array.from(values.subarray(at, at + sizeOf(shape)));
    at += own.length;
    if (type === "category") return own.map((code) => textOf(code, texts));
    const there = own.filter((value) => !Number.isNaN(value));
    if (type === "words" || type === "piece") return there.map((code) => textOf(code, texts));
    if (type === "characters") return [String.fromCharCode(...there)];
    return own.map((value) => (Number.isNaN(value) ? null : value));
  });
}

function textOf(code: number, texts: readonly string[] | undefined): ShownValue {
  return Number.isNaN(code) ? null : (texts?.[code] ?? "?");
}
