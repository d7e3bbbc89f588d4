/**
 * Which samples train and which validate, where that follows from what is in the data: a function of the seed and the data alone. The
 * two parts are disjoint, and together all samples, whatever the rule.
 */
import { assert, LockstepError } from "./errors.ts";
import { RandomStream } from "./random.ts";
import { type Split, splitSamples } from "./sampler.ts";
import type { SplitRule } from "./validation-split.ts";

/** What a rule may ask of the data. */
export interface SplitFacts {
  /** Of all samples, those of validation files included, which come last. */
  readonly total: number;
  /** How many of them are in the files of `data`. */
  readonly own: number;
  /** One number a sample; null where a label is several. */
  labels(): Float32Array | null;
  /** A number for each sample of `data`: of one group where they are equal. Null where no column names them. */
  readonly groups: Uint32Array | null;
  /** What people call a value of the label. */
  nameOf(label: number): string;
}

/** Throws "invalid-job" where a part would be empty, or a class is in none of the validation samples that are to have all. */
export function splitBy(seed: number, rule: SplitRule | null, facts: SplitFacts): Split {
  const split = splitOf(seed, rule, facts);
  const { training, validation } = split;
  if (training.length > 0 && (rule === null || validation.length > 0)) return split;
  const what = rule !== null && "fraction" in rule ? `validation.fraction is ${rule.fraction}` : "validation is given";
  throw new LockstepError(
    "invalid-job",
    `${what}: of ${facts.total} samples that leaves ${training.length} for training and ${validation.length} for validation.`,
    { hint: "Each needs at least one sample: change the fraction, or bring more data." },
  );
}

function splitOf(seed: number, rule: SplitRule | null, { total, own, labels, groups, nameOf }: SplitFacts): Split {
  if (rule === null || !("by" in rule)) return splitSamples(seed, total, rule);
  switch (rule.by) {
    case "class": {
      const values = labels();
      if (values !== null) return partsOf(total, stratified(seed, values, rule.fraction, nameOf));
      throw new LockstepError(
        "invalid-job",
        "validation.stratify goes by classes, and a label of this data is several numbers.",
      );
    }
    case "group":
      assert(groups !== null && groups.length === total, "the data was read with its groups");
      return partsOf(total, grouped(seed, groups, rule.fraction, rule.column));
    case "rows": {
      const [from, to] = rule.rows;
      if (to > total) {
        throw new LockstepError(
          "invalid-job",
          `validation.rows ends at ${to}, and the data has ${total} samples, from 0 to ${total - 1}.`,
          { hint: "The second number is the one after the last sample." },
        );
      }
      return partsOf(total, range(from, to));
    }
    default:
      return partsOf(total, range(own, total));
  }
}

function range(from: number, to: number): Uint32Array {
  return Uint32Array.from({ length: to - from }, (_, i) => from + i);
}

/** Whatever is not held back trains. */
function partsOf(total: number, held: Uint32Array): Split {
  const isHeld = new Uint8Array(total);
  for (const index of held) isHeld[index] = 1;
  const training = range(0, total).filter((index) => isHeld[index] === 0);
  return { training, validation: held.sort() };
}

/**
 * As many of all samples as without regard to classes, and of each class its fraction, rounded down or up: up where the most was cut
 * off (of equals, for the smaller value). So no two classes' shares are further from the fraction than one sample.
 */
function stratified(seed: number, labels: Float32Array, fraction: number, nameOf: SplitFacts["nameOf"]): Uint32Array {
  const members = new Map<number, number[]>();
  labels.forEach((label, index) => {
    const own = members.get(label);
    if (own) own.push(index);
    else members.set(label, [index]);
  });
  const classes = [...members].sort(([a], [b]) => a - b);
  const shares = classes.map(([, own]) => Math.floor(own.length * fraction));
  const cutOff = classes.map(([, own], i) => own.length * fraction - shares[i]!);
  const missing = Math.round(labels.length * fraction) - shares.reduce((sum, share) => sum + share, 0);
  const first = cutOff.map((_, i) => i).sort((a, b) => cutOff[b]! - cutOff[a]! || a - b);
  for (const i of first.slice(0, Math.max(0, missing))) shares[i]!++;
  const held = classes.flatMap(([label, own], i) => {
    const share = shares[i]!;
    if (share === 0 || share === own.length) throw tooFew(nameOf(label), own.length, share, fraction);
    return [...new RandomStream(seed, "split", i).shuffle(Uint32Array.from(own)).subarray(0, share)];
  });
  return Uint32Array.from(held);
}

function tooFew(label: string, count: number, share: number, fraction: number): LockstepError {
  return new LockstepError(
    "invalid-data",
    `The class ${label} has ${count} ${count === 1 ? "sample" : "samples"}: a validation.fraction of ${fraction} leaves ${count - share} for training and ${share} for validation.`,
    {
      hint: "Stratified, each class needs one of both at least: bring more samples of it, leave it out, or change the fraction.",
    },
  );
}

/** Groups in random order, each held back where that brings their samples nearer to the fraction. */
function grouped(seed: number, groups: Uint32Array, fraction: number, column: string): Uint32Array {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  if (sizes.size < 2) {
    throw new LockstepError(
      "invalid-job",
      `The column "${column}" has one value in all samples; validation.column needs two at least.`,
      {
        hint: "Name the column that tells the groups apart, or write { fraction } alone.",
      },
    );
  }
  const target = groups.length * fraction;
  const order = new RandomStream(seed, "split").shuffle(Uint32Array.from(sizes.keys()).sort());
  const held = new Set<number>();
  let count = 0;
  for (const group of order) {
    const size = sizes.get(group)!;
    if (held.size === sizes.size - 1 || count + size / 2 > target) continue;
    held.add(group);
    count += size;
  }
  // All of them are too large: the smallest is the nearest.
  if (held.size === 0)
    held.add([...order].reduce((least, group) => (sizes.get(group)! < sizes.get(least)! ? group : least)));
  return Uint32Array.from([...groups.keys()].filter((index) => held.has(groups[index]!)));
}
