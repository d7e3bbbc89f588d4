/**
 * Text as samples: a window of characters and the one after it. Only the text itself is kept, two bytes a character;
 * a window is copied out of it when it is asked for.
 */
import { createHash } from "node:crypto";
import { learnMerges, type Merges, PieceEncoder, pieceTexts } from "../../core/byte-pair.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TextSource } from "../../core/job.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import type { LocalFile } from "./byte-source.ts";
import { readDataFile } from "./read-file.ts";
import { firstInvalidByte } from "./utf8.ts";

export async function openText(
  source: TextSource,
  given: readonly LocalFile[],
  options: OpenOptions = {},
): Promise<DescribedDataset> {
  const files = given.map(({ name }) => name);
  const { window, stride, tokens } = source;
  const learnFraction = tokens === undefined ? undefined : options.learnFraction;
  const settings = JSON.stringify({ kind: "text", window, stride, tokens, learnFraction });
  const hash = createHash("sha256").update(`${settings}\n`);
  const characters: Uint16Array[] = [];
  for (const { path, name: file } of given) {
    const bytes = await readDataFile(path, file);
    hash.update(`${bytes.length}\n`).update(bytes); // the lengths tell where one file ends: windows end there too
    characters.push(codeUnits(file, bytes));
  }
  const merges = tokens && (options.merges ?? learnMerges(beginningOf(characters, learnFraction ?? 1), tokens.size));
  const texts = merges === undefined ? characters : inPieces(characters, merges);
  const firsts = firstSamples(texts, window, stride);
  const length = firsts.at(-1)!;
  if (length === 0) throw tooShort(files, texts, window, merges === undefined ? "character" : "piece");
  const eachWindow = (indices: ArrayLike<number>, use: (text: Uint16Array, begin: number, row: number) => void) => {
    for (let row = 0; row < indices.length; row++) {
      const index = indices[row]!;
      const file = fileOf(index, firsts);
      use(texts[file]!, (index - firsts[file]!) * stride, row);
    }
  };
  const labels = (indices: ArrayLike<number>) => {
    const label = new Float32Array(indices.length);
    eachWindow(indices, (text, begin, row) => (label[row] = text[begin + window]!));
    return label;
  };
  return {
    length,
    digest: `sha256:${hash.digest("hex")}`,
    features: { shape: [window] },
    label: { shape: [] },
    files,
    columns: columnsOf(window, merges),
    read: (indices) => {
      const features = new Float32Array(indices.length * window);
      eachWindow(indices, (text, begin, row) => features.set(text.subarray(begin, begin + window), row * window));
      return { count: indices.length, features, label: labels(indices) };
    },
    labels,
  };
}

function columnsOf(window: number, merges: Merges | undefined): DescribedDataset["columns"] {
  const [features, label] = [
    { name: null, shape: [window] },
    { name: null, shape: [] },
  ];
  if (merges === undefined) {
    return { features: [{ ...features, type: "character" }], label: { ...label, type: "character" } };
  }
  const texts = pieceTexts(merges);
  return { features: [{ ...features, type: "piece", texts, merges }], label: { ...label, type: "piece", texts } };
}

/** The first texts, of as many characters as that part of all; the last of them may be cut. */
function beginningOf(texts: readonly Uint16Array[], fraction: number): Uint8Array[] {
  let left = Math.round(texts.reduce((sum, { length }) => sum + length, 0) * fraction);
  return texts.map((text) => {
    const own = text.subarray(0, left);
    left -= own.length;
    return utf8Of(own);
  });
}

function inPieces(texts: readonly Uint16Array[], merges: Merges): Uint16Array[] {
  const encoder = new PieceEncoder(merges);
  return texts.map((text) => encoder.encode(utf8Of(text)));
}

/** A character whose second half was cut off is "�". */
function utf8Of(units: Uint16Array): Uint8Array {
  return Buffer.from(Buffer.from(units.buffer, units.byteOffset, units.byteLength).toString("utf16le"));
}

function codeUnits(file: string, bytes: Buffer): Uint16Array {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops a byte-order mark
  } catch (cause) {
    const offset = firstInvalidByte(bytes);
    const byte = bytes[offset]?.toString(16).padStart(2, "0") ?? "?";
    throw new LockstepError(
      "invalid-data",
      `${file} is not UTF-8: the byte 0x${byte} at offset ${offset} begins no character.`,
      {
        hint: "Save the file as UTF-8.",
        cause,
      },
    );
  }
  const units = new Uint16Array(text.length);
  Buffer.from(units.buffer).write(text, "utf16le"); // typed arrays are little-endian wherever Node.js runs lockstep
  return units;
}

/** The number of each file's first sample, and at the end the number of samples. */
function firstSamples(texts: readonly Uint16Array[], window: number, stride: number): number[] {
  const firsts = [0];
  for (const text of texts) {
    const windows = text.length > window ? Math.floor((text.length - window - 1) / stride) + 1 : 0;
    firsts.push(firsts.at(-1)! + windows);
  }
  return firsts;
}

/** The file that holds a sample: the last one whose first sample is not after it (binary search). */
function fileOf(index: number, firsts: readonly number[]): number {
  const length = firsts.at(-1)!;
  if (!(index >= 0 && index < length)) {
    throw new LockstepError("internal", `Sample ${index} was asked for; there are ${length}.`);
  }
  let low = 0;
  let high = firsts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (firsts[middle]! <= index) low = middle;
    else high = middle;
  }
  return low;
}

function tooShort(
  files: readonly string[],
  texts: readonly Uint16Array[],
  window: number,
  unit: "character" | "piece",
): LockstepError {
  const longest = Math.max(...texts.map((text) => text.length));
  const what =
    files.length === 1 ? `${files[0]} has ${longest}` : `The longest of ${files.length} text files has ${longest}`;
  return new LockstepError(
    "invalid-data",
    `${what} ${unit}s; a window of ${window} and the ${unit} after it need ${window + 1}.`,
    { hint: "Give longer texts, or a smaller window." },
  );
}
