/**
 * Samples that a function of the job file makes, asked for when a step needs them. Nobody can read all that such a function
 * depends on, so its digest covers what can be seen: its settings, and the samples that are looked at when it is opened.
 */
import { createHash } from "node:crypto";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { OwnSource } from "../../core/format-sources.ts";
import { encodeJson } from "../../core/json.ts";
import { checkedWeight } from "../../core/sample-weight.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { sampleReader } from "./sample-reader.ts";

/** Of so many samples and fewer all are hashed; of more, this many, spread over all of them. */
export const samplesHashed = 1024;

export function openOwnSamples(source: OwnSource): DescribedDataset {
  const { name, length, version, weighted = false } = source;
  const first = checkedSample(source, 0);
  if (source.weighted === undefined && "weight" in first && first.weight !== undefined) {
    throw new LockstepError(
      "invalid-data",
      `${name}: get(0) gives a weight, and the source does not say that there are some.`,
      {
        hint: "Write weighted: true, or leave the weights out.",
      },
    );
  }
  const ofFirst = source.features ?? shapeOf(first.features, `${name}: get(0).features`);
  const features = ofFirst.length === 0 ? [1] : ofFirst; // one number is a row of one, as models take it
  const label = source.label ?? shapeOf(first.label, `${name}: get(0).label`);
  const [featuresSize, labelSize] = [sizeOf(features), sizeOf(label)];
  const writeLabel = (index: number, into: Float32Array, sample = checkedSample(source, index)) =>
    writeValues(sample.label, label, into, () => `${name}: get(${index}).label`);
  const write = (index: number, featuresInto: Float32Array, labelInto: Float32Array, weightInto: Float32Array) => {
    const sample = checkedSample(source, index);
    if (weighted) weightInto[0] = weightOf(sample, `${name}: get(${index}).weight`);
    writeValues(sample.features, features, featuresInto, () => `${name}: get(${index}).features`);
    writeLabel(index, labelInto, sample);
  };
  const settings = {
    kind: "dataset",
    name,
    length,
    version: version ?? null,
    features,
    label,
    ...(weighted && { weighted }),
  };
  const hash = createHash("sha256").update(`${encodeJson(settings)}\n`);
  const size = featuresSize + labelSize + Number(weighted);
  const [row, again] = [0, 0].map(() => new Float32Array(size)) as [Float32Array, Float32Array];
  const part = (whole: Float32Array) => {
    const labelEnd = featuresSize + labelSize;
    return [whole.subarray(0, featuresSize), whole.subarray(featuresSize, labelEnd), whole.subarray(labelEnd)] as const;
  };
  for (const [i, index] of hashedIndices(length).entries()) {
    write(index, ...part(row));
    // A few are asked for twice: a function that draws, or counts, is found out.
    if (i < 4) {
      write(index, ...part(again));
      if (!Buffer.from(row.buffer).equals(Buffer.from(again.buffer))) throw changing(name, index);
    }
    hash.update(new Uint8Array(row.buffer));
  }
  return {
    length,
    digest: `sha256:${hash.digest("hex")}`,
    features: { shape: features },
    label: { shape: label },
    files: [],
    columns: {
      features: [{ name: null, type: "number", shape: features }],
      label: { name: null, type: "number", shape: label },
      ...(weighted && { weight: { name: null, type: "number", shape: [] } }),
    },
    ...sampleReader(
      { length, features: { shape: features }, label: { shape: label }, isWeighted: weighted },
      { sample: write, label: writeLabel },
    ),
  };
}

/** All of few; of many as many as are hashed, the first and the last among them. */
function hashedIndices(length: number): number[] {
  const count = Math.min(length, samplesHashed);
  return Array.from({ length: count }, (_, i) =>
    count === length ? i : Math.floor((i * (length - 1)) / (samplesHashed - 1)),
  );
}

function checkedSample({ name, get }: OwnSource, index: number): { features: unknown; label: unknown } {
  let sample: unknown;
  try {
    sample = get(index);
  } catch (cause) {
    throw new LockstepError("invalid-data", `${name}: get(${index}) failed: ${messageOf(cause)}`, { cause });
  }
  if (sample instanceof Promise) {
    sample.catch(() => undefined); // what it would have said comes too late
    throw new LockstepError("invalid-data", `${name}: get(${index}) gives a promise; expected { features, label }.`, {
      hint: "A step cannot wait for it: await what get needs at the top of the job file, and have get give values.",
    });
  }
  if (typeof sample === "object" && sample !== null && "features" in sample && "label" in sample) return sample;
  throw new LockstepError(
    "invalid-data",
    `${name}: get(${index}) gives ${described(sample)}; expected { features, label }.`,
  );
}

function weightOf(sample: object, where: string): number {
  const weight: unknown = "weight" in sample ? sample.weight : undefined;
  return checkedWeight(
    weight,
    () => where,
    () => described(weight),
  );
}

function changing(name: string, index: number): LockstepError {
  return new LockstepError(
    "invalid-data",
    `${name}: get(${index}) gives another sample when it is called again; expected the same one every time.`,
    { hint: "Make what it draws a function of the index: every worker, and every start, asks for itself." },
  );
}

function shapeOf(value: unknown, where: string): number[] {
  if (!isList(value)) return [];
  if (value.length === 0) throw new LockstepError("invalid-data", `${where} is an empty list; expected numbers.`);
  return [value.length, ...shapeOf(value[0], `${where}[0]`)];
}

/** Where a value is, for a person; made only when something is wrong with it: there are as many as there are numbers. */
type Where = () => string;

/** Lists in the shape's form, one flat list of as many numbers, or the only number. */
function writeValues(value: unknown, shape: readonly number[], into: Float32Array, where: Where): void {
  if (!isList(value) && into.length === 1) return void writeRow([value], into, where);
  const isFlat = shape.length > 1 && isList(value) && value.length === into.length && !isList(value[0]);
  writeNested(value, isFlat ? [into.length] : shape, into, where);
}

function writeNested(value: unknown, [size = 0, ...rest]: readonly number[], into: Float32Array, where: Where): void {
  if (!isList(value) || value.length !== size) {
    const has = isList(value) ? `has ${value.length} values` : `is ${described(value)}`;
    throw new LockstepError("invalid-data", `${where()} ${has}; expected ${size}, as all samples have.`);
  }
  if (rest.length === 0) return void writeRow(value, into, (i) => `${where()}[${i}]`);
  const width = into.length / size;
  for (let i = 0; i < size; i++) {
    writeNested(value[i], rest, into.subarray(i * width, (i + 1) * width), () => `${where()}[${i}]`);
  }
}

function writeRow(values: ArrayLike<unknown>, into: Float32Array, where: (i: number) => string): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const number = typeof value === "boolean" ? Number(value) : value;
    if (typeof number === "number") into[i] = number;
    if (typeof number === "number" && Number.isFinite(into[i])) continue;
    throw new LockstepError("invalid-data", `${where(i)} is ${described(value)}; expected a finite number.`);
  }
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function described(value: unknown): string {
  if (value === null || typeof value !== "object")
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  return Array.isArray(value) ? "a list" : "an object";
}
