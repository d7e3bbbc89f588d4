/** How predictions are written: what the label is, in its own values, and every number that the model makes of a row. */
import type { RawColumns } from "../core/columns.ts";
import type { Job } from "../core/job.ts";
import {
  float32Text,
  type LabelValue,
  labelColumns,
  meaningOf,
  noMeaning,
  type OutputMeaning,
} from "../core/prediction.ts";
import { outputShape, type Preprocessing, sizeOf } from "../core/transforms.ts";
import { isTable } from "../core/source-validation.ts";
import type { LayersModel } from "../ports/engine.ts";
import { outputParts } from "../runtime/cut.ts";
import type { Predictor } from "../runtime/prediction.ts";

/** What one output of the model says, of the numbers that it makes of a row. */
interface Answer {
  /** Null where it is the only output. */
  readonly name: string | null;
  readonly size: number;
  readonly meaning: OutputMeaning;
  readonly written: (value: LabelValue | null) => string | number | null;
}

export interface RowWriter {
  readonly heading: string;
  rows(outputs: Float32Array, count: number): string;
}

export function predictionWriter(form: "csv" | "json", answers: readonly Answer[]): RowWriter {
  return form === "json" ? jsonWriter(answers) : csvWriter(answers);
}

/** In the order of the model's outputs. */
export function answersOf(
  job: Job,
  model: LayersModel,
  preprocessing: Preprocessing,
  { outputs }: Predictor,
): readonly Answer[] {
  const { label, columns } = preprocessing;
  if (job.outputs === null) {
    const written = (value: LabelValue | null) => labelText(job, columns?.label.texts, value);
    const only = { name: null, size: outputs[0]!.size, written };
    if (outputs.length === 1) {
      const each = answersOfColumns(job, preprocessing, only.size);
      if (each !== null) return each;
      return [{ ...only, meaning: meaningOf(label, job.loss, only.size, job.lossSettings.fromLogits) }];
    }
    return outputs.map(({ name, size }) => ({ name, size, meaning: noMeaning, written }));
  }
  const ofLabel = labelColumns(preprocessing);
  return outputParts(model, job.outputs, outputShape(label)).map(({ rule, index, label: part }) => {
    const { size } = outputs[index]!;
    const column = ofLabel.find((one) => one.offset === part.offset && one.size === sizeOf(part.shape));
    return {
      ...{ name: rule.name, size },
      // Where an output's label is no column by itself, nobody knows its values.
      meaning: column ? meaningOf(column.fitted, rule.loss, size, rule.lossSettings.fromLogits) : noMeaning,
      written: (value) => labelText(job, column?.texts, value),
    };
  });
}

/** Losses whose outputs are one answer, of which each is a part. */
const jointLosses: readonly Job["loss"][] = [
  "categoricalCrossentropy",
  "sparseCategoricalCrossentropy",
  "kullbackLeiblerDivergence",
];

/** Of a label of several columns that one output answers: each of them by itself; null where they are not. */
function answersOfColumns(job: Job, preprocessing: Preprocessing, size: number): readonly Answer[] | null {
  const { data, loss, lossSettings } = job;
  if (!isTable(data) || typeof data.label === "string" || jointLosses.includes(loss)) return null;
  const [names, columns] = [data.label, labelColumns(preprocessing)];
  if (columns.length !== names.length || columns.reduce((sum, column) => sum + column.size, 0) !== size) return null;
  return columns.map((column, i): Answer => {
    const meaning = meaningOf(column.fitted, loss, column.size, lossSettings.fromLogits);
    const written = (value: LabelValue | null) => labelText(job, column.texts, value);
    return { name: names[i]!, size: column.size, meaning, written };
  });
}

function csvWriter(answers: readonly Answer[]): RowWriter {
  const told = answers.filter(isTold);
  const headings = told.map(({ name }) => (name === null ? "predicted" : `predicted ${name}`));
  return {
    heading: `${[...headings, ...answers.flatMap(outputNames)].map(csvCell).join(",")}\n`,
    rows: (values, count) =>
      eachRow(answers, values, count, (row, of) => {
        const predicted = told.map((answer) => csvCell(String(predictedBy(answer, of(answer)) ?? "")));
        return `${[...predicted, ...Array.from(row, float32Text)].join(",")}\n`;
      }),
  };
}

/** NaN and the infinities, which JSON has not, are null. */
function jsonWriter(answers: readonly Answer[]): RowWriter {
  const names = answers.flatMap(outputNames);
  const [only] = answers;
  const told = answers.filter(isTold);
  return {
    heading: "",
    rows: (values, count) =>
      eachRow(answers, values, count, (row, of) => {
        const predicted =
          only!.name === null
            ? predictedBy(only!, row)
            : Object.fromEntries(told.map((answer) => [answer.name, predictedBy(answer, of(answer))]));
        const numbers = Array.from(row, (value) => (Number.isFinite(value) ? float32Text(value) : "null"));
        const pairs = numbers.map((number, i) => `${JSON.stringify(names[i])}:${number}`);
        return `{"predicted":${JSON.stringify(predicted)},"outputs":{${pairs.join(",")}}}\n`;
      }),
  };
}

/** `write` gets a row's numbers, and what gives those of one output. */
function eachRow(
  answers: readonly Answer[],
  values: Float32Array,
  count: number,
  write: (row: Float32Array, of: (answer: Answer) => Float32Array) => string,
): string {
  const width = answers.reduce((sum, { size }) => sum + size, 0);
  const begins = new Map<Answer, number>();
  let end = 0;
  for (const answer of answers) {
    begins.set(answer, end);
    end += answer.size;
  }
  let text = "";
  for (let begin = 0; begin < count * width; begin += width) {
    const row = values.subarray(begin, begin + width);
    text += write(row, (answer) => row.subarray(begins.get(answer)!, begins.get(answer)! + answer.size));
  }
  return text;
}

function predictedBy({ meaning, written }: Answer, row: Float32Array): string | number | null {
  return written(meaning.predict(row));
}

/** Whether there is a column for what an output says that the label is. */
function isTold({ meaning, size }: Answer): boolean {
  return meaning.classes !== null || (size === 1 && meaning !== noMeaning);
}

function outputNames({ name, size, meaning, written }: Answer): readonly string[] {
  const own = meaning.classes?.map((value) => String(written(value)));
  if (name === null) return own ?? numbered("output", size);
  return own?.map((value) => `${name} ${value}`) ?? numbered(name, size);
}

function numbered(name: string, size: number): readonly string[] {
  return Array.from({ length: size }, (_, i) => (size === 1 ? name : `${name} ${i}`));
}

/** A label of text is a character, and a category its text; others are numbers. */
function labelText(job: Job, texts: RawColumns["label"]["texts"], value: LabelValue | null): string | number | null {
  if (value === null || value === "other") return value;
  if (texts !== undefined) return texts[value] ?? "other";
  return job.data.kind === "text" ? String.fromCharCode(value) : Number(float32Text(value));
}

function csvCell(text: string): string {
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
