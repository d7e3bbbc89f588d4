/**
 * Text as samples: a window of characters or pieces and the one after it. Only the text itself is kept, two bytes a character or
 * piece; a window is copied out of it when it is asked for. Files are gone through part by part: once for the digest, by which a text that
 * was too large for memory is found in the cache, once for the text, and before that once for the words, where pieces are learned.
 */
import { createHash, type Hash } from "node:crypto";
import { learnMerges, type Merges, PieceEncoder, pieceTexts, WordCounts, WordStream } from "../../core/byte-pair.ts";
import { LockstepError } from "../../core/errors.ts";
import type { TextSource } from "../../core/job.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { type ByteSource, changedWhileRead, type DataFile, piecesOf, sha256Of } from "./byte-source.ts";
import { keepRows, type RowProducer } from "./data-cache.ts";
import { refuseUtf16 } from "./read-file.ts";
import { firstInvalidByte, wholeCharactersEnd } from "./utf8.ts";

/** What is kept with a text. */
interface About {
  /** Of each file, in characters or pieces. */
  readonly lengths: readonly number[];
  /** Null where it is in characters, or its pieces were given. */
  readonly learned: Merges | null;
}

/** Of one character or piece. */
const unitBytes = 2;
/** Pieces of so much text take half a second to be learned and found: later starts and other workers are spared that. */
const costlyBytes = 2 ** 20;
/** So many bytes of text are a piece, usually; more makes no difference but that a text is read once more. */
const usualPieceBytes = 3;

export async function openText(
  source: TextSource,
  files: readonly DataFile[],
  memoryBytes: number,
  options: OpenOptions = {},
): Promise<DescribedDataset> {
  const { window, stride, tokens } = source;
  const learnFraction = tokens === undefined ? undefined : options.learnFraction;
  const begun = () =>
    createHash("sha256").update(`${JSON.stringify({ kind: "text", window, stride, tokens, learnFraction })}\n`);
  const hash = begun();
  let [sizeBytes, characters] = [0, 0];
  for (const file of files) {
    for await (const text of textParts(file, hash, (size) => (sizeBytes += size))) characters += text.length;
  }
  const sha256 = hash.digest("hex");
  const given = tokens === undefined ? undefined : options.merges;
  const learn = async (size: number) => {
    const words = new WordCounts();
    let left = Math.round(characters * (learnFraction ?? 1));
    for (const file of files) left = await addWords(file, words, left);
    return learnMerges(words, size);
  };
  const produce: RowProducer<About> = async (add) => {
    const again = begun();
    const merges = tokens && (given ?? (await learn(tokens.size)));
    const unitsOf = merges === undefined ? characterParts : pieceParts(new PieceEncoder(merges));
    const lengths: number[] = [];
    for (const file of files) {
      let length = 0;
      for await (const units of unitsOf(textParts(file, again))) {
        await add(new Uint8Array(units.buffer, units.byteOffset, units.byteLength));
        length += units.length;
      }
      lengths.push(length);
    }
    if (again.digest("hex") !== sha256) {
      throw changedWhileRead(files);
    }
    return { about: { lengths, learned: given ? null : (merges ?? null) }, finish: null };
  };
  const { rows, about } = await keepRows(
    { kind: "text", sha256, ...(given && { merges: sha256Of(Buffer.from(JSON.stringify(given))) }) },
    unitBytes,
    produce,
    {
      ...{ memoryBytes, name: files[0]!.name }, // no pattern matches nothing
      isCostly: tokens !== undefined && sizeBytes >= costlyBytes,
      mostBytes: sizeBytes * unitBytes, // no character and no piece has less than a byte
      expectedBytes: (tokens === undefined ? characters : sizeBytes / usualPieceBytes) * unitBytes,
    },
  );
  const { lengths, learned } = about;
  const merges = given ?? learned ?? undefined;
  const firsts = firstSamples(lengths, window, stride);
  const begins = lengths.map((_, file) => lengths.slice(0, file).reduce((sum, length) => sum + length, 0));
  const length = firsts.at(-1)!;
  if (length === 0) throw tooShort(files, lengths, window, merges === undefined ? "character" : "piece");
  /** Where a sample's window begins, in all of the text. */
  const placeOf = (index: number) => {
    const file = fileOf(index, firsts);
    return begins[file]! + (index - firsts[file]!) * stride;
  };
  const units = new Uint16Array(window);
  const bytes = new Uint8Array(units.buffer);
  const labels = (indices: ArrayLike<number>) => {
    const label = new Float32Array(indices.length);
    for (let row = 0; row < indices.length; row++) {
      rows.read(placeOf(indices[row]!) + window, bytes.subarray(0, unitBytes));
      label[row] = units[0]!;
    }
    return label;
  };
  return {
    length,
    digest: `sha256:${sha256}`,
    features: { shape: [window] },
    label: { shape: [] },
    files: files.map(({ name }) => name),
    columns: columnsOf(window, merges),
    read: (indices) => {
      const features = new Float32Array(indices.length * window);
      for (let row = 0; row < indices.length; row++) {
        rows.read(placeOf(indices[row]!), bytes);
        features.set(units, row * window);
      }
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

/** A file's text, part by part, without a byte-order mark. The hash gets its length and its bytes, `onSize` its length. */
async function* textParts(
  file: DataFile,
  hash?: Hash,
  onSize: (sizeBytes: number) => void = () => {},
): AsyncGenerator<string> {
  yield* file.read(async function* (source) {
    hash?.update(`${source.sizeBytes}\n`); // the lengths tell where one file ends: windows end there too
    onSize(source.sizeBytes);
    yield* decodedParts(source, hash);
  });
}

async function* decodedParts(source: ByteSource, hash: Hash | undefined): AsyncGenerator<string> {
  let offset = 0;
  let rest: Uint8Array = new Uint8Array(0);
  for await (const piece of piecesOf(source)) {
    if (offset === 0 && rest.length === 0) refuseUtf16(source.name, piece);
    hash?.update(piece);
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    const end = wholeCharactersEnd(bytes);
    yield decoded(source.name, bytes.subarray(0, end), offset);
    rest = bytes.subarray(end);
    offset += end;
  }
  if (rest.length > 0) yield decoded(source.name, rest, offset);
}

/** `offset`: where in the file these bytes are. */
function decoded(file: string, bytes: Uint8Array, offset: number): string {
  try {
    // A byte-order mark stands at a file's beginning, and is a character elsewhere.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: offset > 0 }).decode(bytes);
  } catch (cause) {
    const at = firstInvalidByte(bytes);
    const byte = bytes[at]?.toString(16).padStart(2, "0") ?? "?";
    throw new LockstepError(
      "invalid-data",
      `${file} is not UTF-8: the byte 0x${byte} at offset ${offset + at} begins no character.`,
      {
        hint: "Save the file as UTF-8.",
        cause,
      },
    );
  }
}

/** UTF-16 code units. */
async function* characterParts(parts: AsyncIterable<string>): AsyncGenerator<Uint16Array> {
  for await (const text of parts) {
    const units = new Uint16Array(text.length);
    Buffer.from(units.buffer).write(text, "utf16le"); // typed arrays are little-endian wherever Node.js runs lockstep
    yield units;
  }
}

function pieceParts(encoder: PieceEncoder) {
  return async function* (parts: AsyncIterable<string>): AsyncGenerator<Uint16Array> {
    const words = new WordStream();
    const encoded = (bytes: Uint8Array, isLast: boolean) => {
      const pieces = Array.from(words.take(bytes, isLast), (word) => encoder.encodeWord(word));
      const all = new Uint16Array(pieces.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const some of pieces) {
        all.set(some, at);
        at += some.length;
      }
      return all;
    };
    for await (const text of parts) yield encoded(Buffer.from(text), false);
    yield encoded(new Uint8Array(0), true);
  };
}

/** Counts the words of a file's first `most` characters, the last of which may be cut; gives how many more there might have been. */
async function addWords(file: DataFile, words: WordCounts, most: number): Promise<number> {
  const stream = new WordStream();
  let left = most;
  const add = (bytes: Uint8Array, isLast: boolean) => {
    for (const word of stream.take(bytes, isLast)) words.add(word);
  };
  for await (const text of textParts(file)) {
    if (left === 0) break;
    const own = text.slice(0, left);
    left -= own.length;
    add(Buffer.from(own), false); // a character whose second half was cut off is "�"
  }
  add(new Uint8Array(0), true);
  return left;
}

/** The number of each file's first sample, and at the end the number of samples. */
function firstSamples(lengths: readonly number[], window: number, stride: number): number[] {
  const firsts = [0];
  for (const length of lengths) {
    const windows = length > window ? Math.floor((length - window - 1) / stride) + 1 : 0;
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
  files: readonly DataFile[],
  lengths: readonly number[],
  window: number,
  unit: "character" | "piece",
): LockstepError {
  const longest = Math.max(...lengths);
  const what =
    files.length === 1
      ? `${files[0]!.name} has ${longest}`
      : `The longest of ${files.length} text files has ${longest}`;
  return new LockstepError(
    "invalid-data",
    `${what} ${unit}s; a window of ${window} and the ${unit} after it need ${window + 1}.`,
    { hint: "Give longer texts, or a smaller window." },
  );
}
