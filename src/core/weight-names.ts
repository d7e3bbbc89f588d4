/**
 * What a model's weights are called. TensorFlow.js numbers layers without a name, and weights of one name, over all models that a
 * process builds. Checkpoints have the names of a process's first model; one that is built later has other numbers, and gets the names of
 * the first by what does not depend on that: its names otherwise, and the order of the numbers.
 */
import { LockstepError } from "./errors.ts";
import { plural } from "./summary-table.ts";

/** A weight as it is called in this process. */
export interface BuiltWeight {
  readonly name: string;
  /** Without the number that tells it from others of this name. */
  readonly originalName: string;
}

/** Names a model's weights, given in their order. */
export type NameWeights = (weights: readonly BuiltWeight[]) => readonly string[];

/** As they were called when this process built the same job's model first. */
export function asBuiltBefore(names: readonly string[]): NameWeights {
  return (weights) =>
    namesBuiltFirst(weights, names, (own, known, what) => {
      const has = `The job's model has ${what(own)}, and had ${known} when it was built before.`;
      return new LockstepError("invalid-job", has, { hint: "A job file builds the same model every time." });
    });
}

/** As they are called in the checkpoint with this id. */
export function asInCheckpoint(id: string, names: readonly string[]): NameWeights {
  return (weights) =>
    namesBuiltFirst(weights, names, (own, known, what) => {
      const has = `The checkpoint ${id} has ${what(known)}, where the job's model has ${own}.`;
      return new LockstepError("incompatible", has, { hint: "Use the job file that the checkpoint was trained with." });
    });
}

/** Of another model: what is its own, what was known, and what either of them is. */
type Refusal = (own: string, known: string, what: (one: string) => string) => LockstepError;

/** The names that the model would have, had it been built first. `known`: those of the model that was. */
function namesBuiltFirst(
  weights: readonly BuiltWeight[],
  known: readonly string[],
  refusal: Refusal,
): readonly string[] {
  const own = toldApart(weights);
  if (own.length !== known.length) {
    throw refusal(String(own.length), String(known.length), (count) => plural(Number(count), "weight"));
  }
  // Layers with names of their own may be in another order.
  const isKnown = new Set(known);
  if (own.every((name) => isKnown.has(name))) return own;
  const [ranks, knownRanks] = [ranked(own), ranked(known)];
  const other = ranks.findIndex((name, i) => name !== knownRanks[i]);
  if (other < 0) return known;
  throw refusal(own[other]!, known[other]!, (name) => `the weight ${name}`);
}

/** Weights of one name, numbered as if no other model had such. */
function toldApart(weights: readonly BuiltWeight[]): readonly string[] {
  const numberIn = ({ name, originalName }: BuiltWeight) => Number(name.slice(originalName.length + 1)); // the first has none
  return weights.map((weight) => {
    const { originalName } = weight;
    const before = weights.filter((other) => other.originalName === originalName && numberIn(other) < numberIn(weight));
    return before.length === 0 ? originalName : `${originalName}_${before.length}`;
  });
}

/** In place of each number in the names, how many lower ones there are of its kind. */
function ranked(names: readonly string[]): readonly string[] {
  const numbers = new Map<string, Set<number>>();
  const parts = names.map(numberedParts);
  for (const { kind, number } of parts.flat()) numbers.set(kind, (numbers.get(kind) ?? new Set()).add(number));
  const rank = ({ kind, number }: NumberedPart) => [...numbers.get(kind)!].filter((other) => other < number).length;
  return parts.map((ofName) => ofName.map((part) => `${part.kind}#${rank(part)}`).join("/"));
}

interface NumberedPart {
  readonly kind: string;
  readonly number: number;
}

/** `dense_Dense12`: numbers are after the class of a layer, or of a model. */
const numberedLayer = /^((?:.*_)?[A-Z]\w*?|sequential_|model)(\d+)$/;
/** What tells a weight from others of its name. */
const numberedWeight = /^(.*)_(\d+)$/;

function numberedParts(name: string): readonly NumberedPart[] {
  const [, plain = name, weight = "0"] = numberedWeight.exec(name) ?? [];
  const layers = plain.split("/").map((part) => {
    const [, kind = part, number = "0"] = numberedLayer.exec(part) ?? [];
    return { kind, number: Number(number) };
  });
  return [...layers, { kind: `weight ${layers.map(({ kind }) => kind).join("/")}`, number: Number(weight) }];
}
