/** What a benchmark is told on its command line. */
import { LockstepError } from "../src/core/errors.ts";

/** Options that most benchmarks have, for `parseArgs`. */
export const commonOptions = { json: { type: "string" }, "no-peers": { type: "boolean" } } as const;

/** An option's whole number, from `least` on. */
export function wholeNumber(option: string, text: string, least = 1): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new LockstepError(
    "usage",
    `--${option} is ${JSON.stringify(text)}; a whole number from ${least} was expected.`,
  );
}

/** Several, with commas between them. */
export function wholeNumbers(option: string, text: string, least = 1): number[] {
  return text.split(",").map((part) => wholeNumber(option, part, least));
}
