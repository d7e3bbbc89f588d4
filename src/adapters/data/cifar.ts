/**
 * CIFAR-10 and CIFAR-100 in their binary form: records of one label, or of a coarse and a fine one, and 3,072 bytes, the red,
 * the green and the blue of 32 rows of 32 pixels. Samples have the colours of a pixel together, as TensorFlow.js wants them.
 */
import { createHash } from "node:crypto";
import { LockstepError } from "../../core/errors.ts";
import type { CifarSource } from "../../core/format-sources.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { type ByteSource, type LocalFile, piecesOf, withFile } from "./byte-source.ts";
import { FileRows, MemoryRows, type RowStore } from "./row-store.ts";
import { sampleReader } from "./sample-reader.ts";

const pixels = 32 * 32;
const colours = 3;

export async function openCifar(
  { classes }: CifarSource,
  files: readonly LocalFile[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const labels = classes === 10 ? 1 : 2;
  const labelAt = classes === 100 ? 1 : 0;
  const recordBytes = labels + colours * pixels;
  const hash = createHash("sha256").update(`${JSON.stringify({ kind: "cifar", classes })}\n`);
  const memory = new MemoryRows(recordBytes);
  const stores: RowStore[] = [];
  let sizeBytes = 0;
  for (const { path, name: file } of files) {
    const read = async (source: ByteSource) => {
      if (source.sizeBytes === 0 || source.sizeBytes % recordBytes !== 0) {
        throw new LockstepError(
          "invalid-data",
          `${file} has ${source.sizeBytes} bytes; expected whole records of ${recordBytes}, as CIFAR-${labels === 1 ? 10 : 100} has.`,
          {
            hint: "Give the files of the binary version, and `classes` as they have them: 10, or 100 or 20 of CIFAR-100.",
          },
        );
      }
      sizeBytes += source.sizeBytes;
      let at = 0;
      let rest: Uint8Array = new Uint8Array(0);
      for await (const piece of piecesOf(source)) {
        hash.update(piece);
        const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
        const whole = bytes.length - (bytes.length % recordBytes);
        for (let record = 0; record < whole; record += recordBytes, at++) {
          const label = bytes[record + labelAt]!;
          if (label < classes) continue;
          throw new LockstepError(
            "invalid-data",
            `${file}, record ${at} has the label ${label}; expected 0 to ${classes - 1}.`,
            {
              hint: "The file is damaged, or has other classes than the job file says. Records count from 0.",
            },
          );
        }
        if (sizeBytes <= memoryBytes) memory.append(bytes.subarray(0, whole));
        rest = bytes.subarray(whole);
      }
      if (sizeBytes > memoryBytes) stores.push(new FileRows(path, recordBytes, source.sizeBytes / recordBytes));
    };
    await withFile(path, read, file);
  }
  // The files that come first are in memory as far as it goes; the others are read when a step needs them.
  const rows = [memory, ...stores].filter(({ count }) => count > 0);
  const record = new Uint8Array(recordBytes);
  const read = (index: number, into: Uint8Array, begin?: number) => {
    let row = index;
    let store = 0;
    while (row >= rows[store]!.count) row -= rows[store++]!.count; // only what there is is asked for
    rows[store]!.read(row, into, begin);
  };
  const form = {
    length: rows.reduce((sum, { count }) => sum + count, 0),
    features: { shape: [32, 32, colours] },
    label: { shape: [] },
  };
  return {
    ...form,
    digest: `sha256:${hash.digest("hex")}`,
    files: files.map(({ name }) => name),
    columns: {
      features: [{ name: null, type: "uint8", shape: form.features.shape }],
      label: { name: null, type: "uint8", shape: [] },
    },
    ...sampleReader(form, {
      sample(index, features, label) {
        read(index, record);
        label[0] = record[labelAt]!;
        for (let pixel = 0; pixel < pixels; pixel++) {
          for (let colour = 0; colour < colours; colour++) {
            features[pixel * colours + colour] = record[labels + colour * pixels + pixel]!;
          }
        }
      },
      label(index, label) {
        const byte = record.subarray(0, 1);
        read(index, byte, labelAt);
        label[0] = byte[0]!;
      },
    }),
  };
}
