/**
 * Pictures in folders, one folder a class. Each is decoded once, by sharp, to the bytes of its pixels; those are kept, in memory or in the
 * cache, by the pictures' contents and by what decodes them. The digest is over the pixels themselves: whatever decodes to other
 * ones, anywhere, is other data.
 */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import type { SharpConstructor } from "sharp";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { ImagesSource } from "../../core/format-sources.ts";
import type { DescribedDataset, OpenOptions } from "../../ports/dataset.ts";
import { sha256Of } from "./byte-source.ts";
import { keepRows, nothingElse } from "./data-cache.ts";
import { matchingFolders } from "./expand-paths.ts";
import { readBytes, unreadable } from "./read-file.ts";
import { sampleReader } from "./sample-reader.ts";

const extensions = [".png", ".jpg", ".jpeg"];
/** From so many pictures on, decoding takes long enough to be done once for all processes. */
const manyPictures = 512;

/** The column of the classes' names, in a checkpoint's dictionaries. */
const labelName = "class";

interface Picture {
  readonly file: string;
  readonly label: number;
}

export async function openImages(
  source: ImagesSource,
  baseDirectory: string,
  { memoryBytes, dictionaries }: { readonly memoryBytes: number } & Pick<OpenOptions, "dictionaries">,
): Promise<DescribedDataset> {
  const { size, channels } = source;
  const folders = await matchingFolders(source.path, baseDirectory);
  const { classes, pictures } = await listPictures(folders, source.path, dictionaries?.[labelName] ?? null);
  const { default: sharp } = await import("sharp");
  const rowBytes = size[0] * size[1] * channels;
  const hashes: string[] = [];
  for (const { file } of pictures) hashes.push(sha256Of(await readBytes(file)));
  const key = { kind: "images", size, channels, decoder: [sharp.versions, process.arch], pictures: hashes };
  const kept = await keepRows(
    key,
    rowBytes,
    async (add) => {
      const atOnce = 2 * availableParallelism();
      for (let begin = 0; begin < pictures.length; begin += atOnce) {
        const batch = pictures.slice(begin, begin + atOnce);
        const decoded = batch.map(async ({ file }, i) => {
          const bytes = await readBytes(file);
          if (sha256Of(bytes) !== hashes[begin + i]) throw changed(file);
          return decode(sharp, file, bytes, source);
        });
        // In their order, however long each takes.
        for (const pixels of await Promise.all(decoded)) await add(pixels);
      }
      return nothingElse;
    },
    { memoryBytes, isCostly: pictures.length >= manyPictures, name: folders[0]! }, // no pattern matches nothing
  );
  const labels = pictures.map(({ label }) => label);
  const settings = { kind: "images", size, channels, classes, labels, sha256: kept.sha256 };
  const row = new Uint8Array(rowBytes);
  const form = { length: pictures.length, features: { shape: [...size, channels] }, label: { shape: [] } };
  return {
    ...form,
    digest: `sha256:${createHash("sha256").update(JSON.stringify(settings)).digest("hex")}`,
    files: folders,
    columns: {
      features: [{ name: null, type: "uint8", shape: form.features.shape }],
      label: { name: labelName, type: "category", shape: [], texts: classes },
    },
    ...sampleReader(form, {
      sample(index, features, label) {
        kept.rows.read(index, row);
        features.set(row);
        this.label(index, label);
      },
      label(index, label) {
        label[0] = labels[index]!;
      },
    }),
  };
}

/**
 * By class, and in it by name, both in the order of code units: the same on every machine.
 * @param known the classes that a model was trained with; null where it is trained with these
 */
async function listPictures(
  folders: readonly string[],
  written: string,
  known: readonly string[] | null,
): Promise<{ classes: readonly string[]; pictures: Picture[] }> {
  const found = written.includes("*") ? folders : await foldersIn(folders[0]!); // one path is one folder
  const names = found.map((folder) => path.basename(folder)).sort();
  const classes = known ?? names;
  const strange = names.find((name) => !classes.includes(name));
  if (strange !== undefined) {
    throw new LockstepError(
      "invalid-data",
      `${written} has the class "${strange}", which the model was not trained with; expected ${listed(classes.slice(0, 12))}.`,
      { hint: "Name the folder as the training data does, or leave it out." },
    );
  }
  if (names.length < (known === null ? 2 : 1)) {
    throw new LockstepError(
      "invalid-data",
      `${written} has ${names.length === 0 ? "no folder" : `one folder, "${names[0]}"`}; expected one for each class, with its pictures.`,
      { hint: "Put the pictures of each class into a folder with the class's name." },
    );
  }
  const twice = names.find((name, i) => names[i + 1] === name);
  if (twice !== undefined) throw new LockstepError("invalid-data", `${written} matches two folders "${twice}".`);
  const pictures: Picture[] = [];
  for (const name of names) {
    const label = classes.indexOf(name);
    const folder = found.find((one) => path.basename(one) === name)!; // the names are theirs
    const files = (await filesIn(folder)).filter((file) => !file.startsWith(".")).sort();
    if (files.length === 0) {
      throw new LockstepError("invalid-data", `${folder} has no pictures; expected those of the class "${name}".`, {
        hint: "Remove the folder, or put its pictures there.",
      });
    }
    for (const file of files) {
      if (!extensions.includes(path.extname(file).toLowerCase())) {
        throw new LockstepError(
          "invalid-data",
          `${path.join(folder, file)} is no picture; expected PNG or JPEG files.`,
          {
            hint: "Move other files out of the classes' folders.",
          },
        );
      }
      pictures.push({ file: path.join(folder, file), label });
    }
  }
  return { classes, pictures };
}

async function foldersIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isFile() && !entry.name.startsWith("."))
      .map((entry) => path.join(folder, entry.name));
  } catch (cause) {
    throw unreadable(folder, cause);
  }
}

async function filesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw unreadable(folder, cause);
  }
}

/** Pixels are kept by the hash of what they were decoded from, so it has to be that. */
function changed(file: string): LockstepError {
  return new LockstepError("invalid-data", `${file} was changed while the pictures were read.`, {
    hint: "Start again, and leave data files alone meanwhile.",
  });
}

/** Pixels in rows, each with its channels together, one byte each. */
async function decode(
  sharp: SharpConstructor,
  file: string,
  bytes: Buffer,
  { size: [height, width], channels }: Pick<ImagesSource, "size" | "channels">,
): Promise<Uint8Array> {
  const isPng = bytes.subarray(0, 8).equals(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"));
  if (!isPng && !bytes.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]))) {
    throw new LockstepError("invalid-data", `${file} is neither a PNG nor a JPEG file, whatever its name says.`, {
      hint: "Convert it, or take it out.",
    });
  }
  try {
    const picture = sharp(bytes).toColourspace("srgb");
    const coloured = channels === 4 ? picture.ensureAlpha() : picture.removeAlpha();
    const { data, info } = await coloured
      .resize({ width, height, fit: "fill", fastShrinkOnLoad: false })
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    return withChannels(data, info.channels, channels, height * width);
  } catch (cause) {
    throw new LockstepError("invalid-data", `${file} cannot be decoded: ${messageOf(cause).replaceAll("\n", " ")}`, {
      hint: "It may be cut off: get it again, or take it out.",
      cause,
    });
  }
}

/** A picture in shades of grey may come with one channel, or with two; colours become grey as ITU-R 601 weighs them. */
function withChannels(data: Uint8Array, has: number, wants: 1 | 3 | 4, pixels: number): Uint8Array {
  if (has === wants) return data;
  const result = new Uint8Array(pixels * wants);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [first = 0, second = 0, third = 0] = data.subarray(pixel * has, (pixel + 1) * has);
    const [red, green, blue] = has < 3 ? [first, first, first] : [first, second, third];
    if (wants === 1) {
      result[pixel] = (19_595 * red + 38_470 * green + 7_471 * blue + 32_768) >> 16;
      continue;
    }
    result.set([red, green, blue], pixel * wants);
    if (wants === 4) result[pixel * 4 + 3] = has === 2 ? second : 255;
  }
  return result;
}
