/** Labels as classes: looked at before training, where a wrong one would be a loss of NaN, or an epoch's worth of surprise. */
import { LockstepError } from "./errors.ts";
import { listed } from "./field-checks.ts";

/** With more values than these, a label is a measurement and no class. */
const mostClasses = 256;

/** Numbers of a label, after pre-processing, that stand for classes. */
export interface ClassNumbers {
  /** They are 0 to below this. "yes or no": 1 or 0, or between them. */
  readonly classes: number | "yes or no";
  /** Where in the label they are, and how many, and of which output of a model that has several. Left out: all numbers are. */
  readonly part?: { readonly offset: number; readonly size: number; readonly output: string };
}

/** The first label that is none of the classes. @param labels row after row, each of `width` numbers */
export function wrongClass(
  labels: Float32Array,
  width: number,
  { classes, part }: ClassNumbers,
): { readonly row: number; readonly label: number } | null {
  const isClass = (label: number) =>
    classes === "yes or no" ? label >= 0 && label <= 1 : label >= 0 && label < classes && Number.isInteger(label);
  const at = labels.findIndex((label, i) => {
    const place = (i % width) - (part?.offset ?? 0);
    return place >= 0 && place < (part?.size ?? width) && !isClass(label);
  });
  return at < 0 ? null : { row: Math.floor(at / width), label: labels[at]! };
}

/** @param place of the sample */
export function noClass(label: number, { classes, part }: ClassNumbers, place: string): LockstepError {
  const what = `A label${part ? ` of the output ${part.output}` : ""} is ${label} after pre-processing`;
  if (classes === "yes or no") {
    return new LockstepError("invalid-data", `${what}, and binaryCrossentropy takes 0 to 1: ${place}.`, {
      hint: "Write 1 for yes and 0 for no, as the codes of a category are; vocabulary() begins with 1.",
    });
  }
  const isWhole = Number.isInteger(label) && label >= 0;
  return new LockstepError("invalid-data", `${what}, and the model has the classes 0 to ${classes - 1}: ${place}.`, {
    hint: isWhole
      ? `Give the last layer ${label + 1} units or more, put vocabulary() into preprocess.label, or mend the label.`
      : "Put vocabulary() into preprocess.label, which numbers the distinct values, or mend the label.",
  });
}

function quoted(name: string): string {
  return JSON.stringify(name);
}

type Counts = { training: number; validation: number };

/** How often each class is in both parts of the split. */
export class ClassCounts {
  #counts: Map<number, Counts> | null = new Map();

  /** By label, ascending; null once there are too many for classes. */
  get all(): readonly (readonly [label: number, counts: Readonly<Counts>])[] | null {
    return this.#counts && [...this.#counts].sort(([a], [b]) => a - b);
  }

  add(part: "training" | "validation", labels: Float32Array): void {
    for (const label of labels) {
      if (this.#counts === null) return;
      const counts = this.#counts.get(label) ?? { training: 0, validation: 0 };
      counts[part]++;
      this.#counts.set(label, counts);
      if (this.#counts.size > mostClasses) this.#counts = null;
    }
  }

  /** What is to be said of classes that one part of the split lacks; null where it is nothing. */
  lacking(nameOf: (label: number) => string): string | null {
    const classes = this.all ?? [];
    for (const [part, what, hint] of [
      ["validation", "of which val_ metrics say nothing", "validation.stratify draws from every class"],
      ["training", "which the model cannot learn", "validation.stratify leaves some of every class"],
    ] as const) {
      const names = classes.filter(([, counts]) => counts[part] === 0).map(([label]) => nameOf(label));
      if (names.length === 0) continue;
      const shown = names.length > 5 ? `${names.slice(0, 4).map(quoted).join(", ")}, …` : listed(names, "and");
      const which = names.length === 1 ? `the class ${shown}` : `${names.length} classes (${shown})`;
      return `No ${part} sample is of ${which}, ${what}; ${hint}.`;
    }
    return null;
  }
}
