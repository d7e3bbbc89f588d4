import type { DataSource } from "../../core/job.ts";
import type { Dataset } from "../../ports/dataset.ts";
import { openCsv } from "./csv.ts";
import { openText } from "./text.ts";

/**
 * Reads a job's data into memory. Relative paths start at `baseDirectory`. Everything wrong with the files is an
 * "invalid-data" error that names the file and the place in it.
 */
export function openDataset(source: DataSource, baseDirectory: string): Promise<Dataset> {
  return source.kind === "csv" ? openCsv(source, baseDirectory) : openText(source, baseDirectory);
}
