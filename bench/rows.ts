/** Data of no meaning, for what is measured and not learned: digits under a header, the last of each row its label. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RandomStream } from "../src/core/random.ts";

/** Writes "rows.csv" into a folder: so many numbers a row in "f0", "f1", …, and one of ten classes in "label". */
export async function writeRows(folder: string, features: number, count: number): Promise<void> {
  const random = new RandomStream(1, "report");
  const head = [...Array.from({ length: features }, (_, i) => `f${i}`), "label"].join(",");
  const rows = Array.from({ length: count }, () =>
    Array.from({ length: features + 1 }, () => random.nextBelow(10)).join(","),
  );
  await writeFile(join(folder, "rows.csv"), `${[head, ...rows].join("\n")}\n`);
}
