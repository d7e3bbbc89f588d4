// A reporter for `node --test`: which files of tests took longest, once all have run.
import { relative } from "node:path";
import { root } from "./install.mjs";

const shown = 12;

export default async function* slowestFiles(events) {
  const files = new Map();
  for await (const { type, data } of events) {
    // A group's time has that of its tests in it.
    if ((type !== "test:pass" && type !== "test:fail") || data.nesting > 0 || !data.file) continue;
    files.set(data.file, (files.get(data.file) ?? 0) + data.details.duration_ms);
  }
  const slowest = [...files].sort(([, a], [, b]) => b - a).slice(0, shown);
  if (slowest.length < 2) return;
  yield "The files that took longest, in seconds:\n";
  for (const [file, ms] of slowest) yield `  ${(ms / 1000).toFixed(0).padStart(5)}  ${relative(root, file)}\n`;
}
