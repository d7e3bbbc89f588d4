import { unreachable } from "../../core/errors.ts";
import type { DataSource } from "../../core/job.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { openCsv } from "./csv.ts";
import { openIdx } from "./idx.ts";
import { openJsonLines } from "./json-lines.ts";
import { openNpy } from "./npy.ts";
import { openNpz } from "./npz.ts";
import { openOwnSamples } from "./own-samples.ts";
import { openText } from "./text.ts";

/**
 * Reads a job's data into memory. Relative paths start at `baseDirectory`. Everything wrong with the files is an
 * "invalid-data" error that names the file and the place in it.
 */
export async function openDataset(source: DataSource, baseDirectory: string): Promise<DescribedDataset> {
  switch (source.kind) {
    case "csv":
      return openCsv(source, baseDirectory);
    case "text":
      return openText(source, baseDirectory);
    case "idx":
      return openIdx(source, baseDirectory);
    case "npy":
      return openNpy(source, baseDirectory);
    case "npz":
      return openNpz(source, baseDirectory);
    case "json-lines":
      return openJsonLines(source, baseDirectory);
    case "dataset":
      return openOwnSamples(source);
    default:
      return unreachable(source);
  }
}
