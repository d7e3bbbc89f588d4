import { unreachable } from "../../core/errors.ts";
import type { DataSource } from "../../core/job.ts";
import { isS3Location } from "../s3/location.ts";
import { withoutWeights } from "../../core/sample-weight.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { openCifar } from "./cifar.ts";
import { csvFormat } from "./csv.ts";
import { dataFiles, withFetchedFolder } from "./data-files.ts";
import { pairsOf } from "./file-pairs.ts";
import { openIdx } from "./idx.ts";
import { openImages } from "./images.ts";
import { jsonLinesFormat } from "./json-lines.ts";
import { openNpy } from "./npy.ts";
import { openNpz } from "./npz.ts";
import { openOwnSamples } from "./own-samples.ts";
import { openTable } from "./table-dataset.ts";
import { openTextTable } from "./text-table.ts";
import { openText } from "./text.ts";

/** What the numbers of one set of samples may take of a process's memory, unless it is told otherwise. */
const defaultMemoryBytes = 2 ** 31;

/**
 * Opens a job's data: in memory, or on disk where it takes more than it may. Relative paths start at `baseDirectory`. Everything wrong
 * with the files is an "invalid-data" error that names the file and the place in it.
 */
export async function openDataset(
  given: DataSource,
  baseDirectory: string,
  options: OpenOptions = {},
): Promise<DescribedDataset> {
  const { memoryBytes = defaultMemoryBytes, isOther = false } = options;
  const source = isOther ? withoutWeights(given) : given;
  const filesOf = ({ path }: { readonly path: string }) => dataFiles([path], baseDirectory);
  const pairsIn = async (written: readonly [features: string, labels: string]) => {
    const [features, labels] = await Promise.all(written.map((path) => filesOf({ path })));
    return pairsOf(features!, labels!, written);
  };
  switch (source.kind) {
    case "csv":
      return openTextTable(csvFormat(source, options), await filesOf(source), memoryBytes);
    case "text":
      return openText(source, await dataFiles(source.paths, baseDirectory), memoryBytes, options);
    case "idx":
      return openIdx(source, await pairsIn([source.features, source.labels]), memoryBytes);
    case "npy":
      return openNpy(await pairsIn([source.features, source.label]), memoryBytes);
    case "npz":
      return openNpz(source, await filesOf(source), memoryBytes);
    case "json-lines":
      return openTextTable(jsonLinesFormat(source, options), await filesOf(source), memoryBytes);
    case "dataset":
      return openOwnSamples(source);
    case "parquet":
    case "arrow":
    case "tfrecord":
      return openTable(source, await filesOf(source), memoryBytes, options);
    case "images":
      return isS3Location(source.path)
        ? withFetchedFolder(source.path, (path) =>
            openImages({ ...source, path }, baseDirectory, { ...options, memoryBytes }),
          )
        : openImages(source, baseDirectory, { ...options, memoryBytes });
    case "cifar":
      return openCifar(source, await filesOf(source), memoryBytes);
    default:
      return unreachable(source);
  }
}
