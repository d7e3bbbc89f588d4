/** Whether a job makes numbers of what its columns hold: found before training, where it would otherwise learn from codes, or from nothing. */
import type { RawColumn } from "./columns.ts";
import { LockstepError } from "./errors.ts";
import { hasTransform, type Transform } from "./transform-definition.ts";
import { applyTransforms, type FittedTransforms, sizeOf } from "./transforms.ts";

export interface UsedColumn extends RawColumn {
  readonly missing?: { readonly count: number; readonly first: string };
  readonly parts?: readonly UsedColumn[];
}

/** Transforms to which a code is a name, and not a number. */
const takeCodes: readonly Transform["kind"][] = ["vocabulary", "one-hot", "map"];

/** Throws "invalid-job" where a category or a text would go into the model as the numbers of its codes. */
export function checkColumnUse(
  { features }: { readonly features: readonly UsedColumn[] },
  preprocess: { readonly features: readonly Transform[] },
): void {
  const [first] = preprocess.features;
  for (const { name, type } of features) {
    if (name === null || (type !== "category" && type !== "words" && type !== "characters")) continue;
    const list =
      first?.kind !== "columns"
        ? preprocess.features
        : Object.hasOwn(first.columns, name)
          ? first.columns[name]!
          : first.rest;
    if (hasTransform(list, takeCodes)) continue;
    const then = type === "category" ? "[vocabulary(), oneHot()]" : "vocabulary()";
    throw new LockstepError(
      "invalid-job",
      `The column "${name}" is ${type === "category" ? "a category" : `a text of ${type}`}, and nothing in preprocess.features makes numbers of it.`,
      { hint: `Write preprocess: { features: columns({ ${JSON.stringify(name)}: ${then}, … }) }.` },
    );
  }
}

/** Whether a raw row may have room that no value fills. */
export function mayLack(columns: readonly UsedColumn[]): boolean {
  return columns.some(
    ({ name, missing, type }) =>
      missing !== undefined || (name !== null && (type === "words" || type === "characters")),
  );
}

/** The error for the first of the rows of which a value is missing after all transforms; null where none is. */
export function unfilled(
  rows: Float32Array,
  columns: readonly UsedColumn[],
  fitted: FittedTransforms,
): LockstepError | null {
  const width = sizeOf(fitted.shape);
  const count = rows.length / width;
  const made = applyTransforms(fitted, rows, count);
  const at = made.findIndex(Number.isNaN);
  if (at < 0) return null;
  const row = Math.floor(at / (made.length / count));
  let begin = row * width;
  for (const { name, shape, missing } of columns) {
    const end = begin + sizeOf(shape);
    const isHere = rows.subarray(begin, end).some(Number.isNaN);
    begin = end;
    // Of several that are missing in this row, one is not filled in: the transforms of the others are tried alone.
    if (!isHere || isFilled(rows, row, width, begin - sizeOf(shape), end, fitted)) continue;
    if (missing === undefined) {
      return new LockstepError(
        "invalid-job",
        `The texts of "${name}" have unequal lengths, and nothing in preprocess.features fills them up.`,
        {
          hint: `Write ${JSON.stringify(name)}: vocabulary(), which gives 0 to what is not there.`,
        },
      );
    }
    return new LockstepError(
      "invalid-data",
      `${missing.first}, column "${name}" is missing, as ${missing.count} of its values are, and nothing in preprocess.features fills them in.`,
      { hint: `Write ${JSON.stringify(name)}: impute("median"), or leave out such samples.` },
    );
  }
  return new LockstepError("invalid-job", `${fitted.field} makes NaN of a sample that has no missing value.`, {
    hint: "Look at its map().",
  });
}

/** Whether a row whose only missing values are these would be whole. */
function isFilled(
  rows: Float32Array,
  row: number,
  width: number,
  begin: number,
  end: number,
  fitted: FittedTransforms,
): boolean {
  const alone = rows.slice(row * width, (row + 1) * width);
  for (let i = 0; i < width; i++) {
    if (Number.isNaN(alone[i]) && (i < begin - row * width || i >= end - row * width)) alone[i] = 0;
  }
  return !applyTransforms(fitted, alone, 1).some(Number.isNaN);
}
