/** `lockstep predict`: the outputs of a checkpoint's model for rows of raw values, and what they say the label is. */
import { createWriteStream, existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Writable } from "node:stream";
import { featureNames, isJsonLines, readRows } from "../adapters/data/rows.ts";
import { knownOf, type RawColumns } from "../core/columns.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { plural } from "../core/summary-table.ts";
import { sizeOf } from "../core/transforms.ts";
import { openPredictor } from "../runtime/prediction.ts";
import type { Arguments, Command } from "./command.ts";
import { dataBeside } from "./common.ts";
import { whichCheckpoints } from "./find-checkpoints.ts";
import { chooseCheckpoints, computing, openCheckpoint } from "./open-checkpoint.ts";
import { answersOf, predictionWriter } from "./prediction-writer.ts";

/** Rows that are computed at once: a fixed number, since sums over a batch may round by its size. */
const batchRows = 256;

export const predict: Command = {
  name: "predict",
  summary: "Predict the label of raw rows with a checkpoint, and write the model's outputs.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    checkpoint: {
      value: "ID",
      help: "best, latest, an id or a part of it (default: best, or latest while nothing is best)",
    },
    data: {
      value: "FILE",
      help: "rows as the training data has them, as CSV, JSON lines or in its own table format; the label may be missing",
    },
    output: { value: "FILE", help: "where predictions go, as CSV or JSON lines (default: standard output)" },
    ...whichCheckpoints,
    ...computing,
  },
  details: `Example:
  lockstep predict digits.ts --checkpoint best --data new.csv --output predicted.csv

Reads and writes row by row, so files may be of any size. Rows go through the pre-processing that is in the checkpoint.
CSV has a header row, and its columns are found by their names where the training data is at hand; files that end in
.jsonl, .ndjson or .json have a list of numbers, or a record of them by name, in each line; for a job that reads text, a text, whose last
characters are used. Of a job that reads Parquet, Arrow or TFRecord, every file that ends neither so nor in .csv, .tsv or .txt is read as
the training data is. Written are the predicted label in its own values, and each output of the model.`,
  run: runPredict,
};

async function runPredict(args: Arguments): Promise<number> {
  const file = args.text("data");
  if (file === undefined) throw new LockstepError("usage", "--data is missing: which file has the rows?");
  const output = args.text("output");
  if (output !== undefined && existsSync(resolve(output))) {
    throw new LockstepError("usage", `${resolve(output)} is there already; nothing is written over.`, {
      hint: "Give another --output, or remove it first.",
    });
  }
  if (!existsSync(file)) {
    throw new LockstepError("invalid-data", `There is no data file ${resolve(file)}.`, {
      hint: "--data names a file with the rows to predict.",
    });
  }
  const jobFile = args.argument;
  const word = args.text("checkpoint");
  const { found, ids } = await chooseCheckpoints(args, jobFile, word === undefined ? [] : [word]);
  const opened = await openCheckpoint(args, jobFile, found, await found.load(ids[0]!));
  const { job, engine, program, preprocessing } = opened;
  const { features, columns } = preprocessing;
  const predictor = openPredictor(engine, program.model, features, job);
  const width = sizeOf(features.shape);
  const names = columnNames(columns) ?? (await featureNames(job.data, width, dataBeside(dirname(resolve(jobFile)))));
  if (names === null && job.data.kind === "csv" && !isJsonLines(file)) {
    say("The training data is not at hand, so columns are taken in the order of the file.");
  }
  const answers = answersOf(job, program.model, preprocessing, predictor);
  const write = predictionWriter(isJsonLines(output ?? file) ? "json" : "csv", answers);
  const onUnused = (columns: readonly string[]) => say(`Columns that the model does not take: ${columns.join(", ")}.`);
  let rows = 0;
  let strange = 0;
  await writing(output, async (stream) => {
    for await (const { count, values } of readRows(
      resolve(file),
      { source: job.data, width, names, known: knownOf(columns) },
      batchRows,
      onUnused,
    )) {
      const outputs = predictor.predict(values, count);
      // Not before the first rows: what is wrong with the file is then all that is said.
      await put(stream, `${rows === 0 ? write.heading : ""}${write.rows(outputs, count)}`);
      rows += count;
      strange += strangeRows(outputs, count);
    }
    if (rows === 0) await put(stream, write.heading);
  });
  if (strange > 0) {
    say(
      `Of ${plural(strange, "row")} an output is no finite number, as the checkpoint's weights or the row's values make it.`,
    );
  }
  if (output !== undefined) say(`${plural(rows, "row")} predicted with ${ids[0]}, in ${resolve(output)}.`);
  return 0;
}

/** Null where the file has no names, or nobody remembers them. */
function columnNames(columns: RawColumns | undefined): readonly string[] | null {
  const names = columns?.features.flatMap(({ name }) => name ?? []);
  return names !== undefined && names.length === columns?.features.length ? names : null;
}

function strangeRows(outputs: Float32Array, count: number): number {
  const width = outputs.length / count;
  let strange = 0;
  for (let row = 0; row < count; row++) {
    if (!outputs.subarray(row * width, (row + 1) * width).every(Number.isFinite)) strange++;
  }
  return strange;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Into a file that has its name only once it is whole; or to standard output. */
async function writing(output: string | undefined, use: (stream: Writable) => Promise<void>): Promise<void> {
  if (output === undefined) return use(process.stdout);
  const path = resolve(output);
  const staged = `${path}.${process.pid}.partial`;
  const stream = createWriteStream(staged, { flags: "wx" });
  const failed = new Promise<never>((_, reject) => stream.once("error", reject));
  try {
    await Promise.race([use(stream), failed]);
    await Promise.race([new Promise<void>((done) => stream.end(done)), failed]);
    await rename(staged, path);
  } catch (error) {
    stream.destroy();
    await rm(staged, { force: true });
    if (error instanceof LockstepError) throw error;
    throw new LockstepError("usage", `The predictions cannot be written to ${path}: ${messageOf(error)}.`, {
      hint: "Give another file with --output.",
      cause: error,
    });
  }
}

/** Waits for a slow reader, so that memory holds one piece at a time. */
async function put(stream: Writable, text: string): Promise<void> {
  if (text === "" || stream.write(text)) return;
  await new Promise<void>((drained) => stream.once("drain", drained));
}
