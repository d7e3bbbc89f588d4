import { LockstepError } from "../../core/errors.ts";
import { isBlank } from "./csv-row.ts";

/** A cell that should be a number, and is none. */
export function notANumber(where: string, column: string, cell: string, isLabel = false): LockstepError {
  const name = JSON.stringify(column);
  if (isBlank(cell)) {
    return new LockstepError("invalid-data", `${where}, column "${column}" is empty; expected a number.`, {
      hint: isLabel
        ? "Leave out samples without a label."
        : `Leave out such rows; or fill in missing values, by preprocess: { features: columns({ ${name}: impute("median") }) }.`,
    });
  }
  if (cell.includes("\uFEFF")) {
    return new LockstepError("invalid-data", `${where}, column "${column}" has a byte-order mark; expected a number.`, {
      hint: "It marks the beginning of a file: take it out where files were joined.",
    });
  }
  const shown = JSON.stringify(cell.length > 40 ? `${cell.slice(0, 40)}…` : cell);
  return new LockstepError("invalid-data", `${where}, column "${column}" is ${shown}; expected a finite number.`, {
    hint: isLabel
      ? `If the column holds texts, say so: columns: { ${name}: "category" }.`
      : `If the column holds texts, say so: columns: { ${name}: "category" }; if it is no feature, ignore: [${name}]; if ${shown} stands for nothing, missing: [${shown}].`,
  });
}
