/** Parquet, Arrow and TFRecord files that their own libraries wrote (test/fixtures/formats/reference.py), and damaged ones. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { arrowPieces } from "../../src/adapters/data/arrow.ts";
import type { ByteSource } from "../../src/adapters/data/byte-source.ts";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { parquetPieces } from "../../src/adapters/data/parquet.ts";
import { decoderVersions } from "../../src/adapters/data/table-dataset.ts";
import type { NamedColumns, TablePiece } from "../../src/adapters/data/table-columns.ts";
import { tfrecordPieces } from "../../src/adapters/data/tfrecord.ts";
import { checkZstdFrame } from "../../src/adapters/data/zstd.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { arrow, parquet, tfrecord } from "../../src/index.ts";
import { bytesInMemory } from "../fixtures/byte-source.ts";
import { Fuzz } from "../fixtures/fuzz.ts";

const folder = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));
const rows = 20;
/** By column: the type in the file, and the shape of one row. */
const columns: Readonly<Record<string, readonly [string, readonly number[]]>> = {
  b: ["bool", []],
  u8: ["uint8", []],
  i16: ["int16", []],
  u32: ["uint32", []],
  i64: ["int64", []],
  f16: ["float16", []],
  f32: ["float32", []],
  f64: ["float64", []],
  list: ["int32", [3]],
  fixed: ["float32", [2]],
  nested: ["float64", [2, 2]],
  kind: ["int64", []],
};

const values = async (name: string): Promise<Record<string, number[]>> =>
  JSON.parse(await readFile(path.join(folder, name), "utf8"));

async function errorOf(opening: Promise<unknown>): Promise<string> {
  const error = await opening.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LockstepError && error.code === "invalid-data", String(error));
  return `${error.message.replaceAll(folder, "")} | ${error.hint}`;
}

test("every column of Parquet and Arrow files of pyarrow and polars has the numbers that pyarrow reads, packed in any way", async () => {
  const expected = await values("columns.json");
  const files = (await readdir(folder)).filter((name) => /^(?!other).*\.(parquet|arrows?)$/.test(name));
  assert.equal(files.length, 13);
  for (const file of files) {
    const of = file.endsWith(".parquet") ? parquet : arrow;
    const all = Object.entries(columns).map(([name, [type, shape]]) => ({ name, type, shape }));
    const names = all.map(({ name }) => name).filter((name) => name !== "nested");
    const data = await openDataset(of(file, { features: names, label: "nested" }), folder);
    assert.deepEqual(
      [...data.columns.features, data.columns.label],
      [...all.filter(({ name }) => name !== "nested"), all.find(({ name }) => name === "nested")],
      file,
    );
    assert.deepEqual([data.length, data.features.shape, data.label.shape], [rows, [14], [2, 2]], file);
    const read = data.read(Array.from({ length: rows }, (_, i) => i));
    const wanted = Array.from({ length: rows }, (_, row) =>
      names.flatMap((name) => {
        const width = expected[name]!.length / rows;
        return expected[name]!.slice(row * width, (row + 1) * width);
      }),
    );
    assert.deepEqual(Array.from(read.features), wanted.flat(), file);
    assert.deepEqual(Array.from(read.label), expected.nested, file);
    // What is wrong is said in the same words whatever a file is packed with.
    if (file !== "zstd.parquet" && file !== "lz4.arrow") continue;
    const alone = await openDataset(of(file, { features: ["fixed"], label: "u8" }), folder);
    assert.deepEqual(alone.features.shape, [2]);
    const wrong = (features: string) => errorOf(openDataset(of(file, { features: [features], label: "u8" }), folder));
    assert.match(await wrong("hole"), /, row 13, column "hole" is missing \(null\); expected a number\. \| Fill in/);
    assert.match(await wrong("nan"), /, row 4, column "nan" is NaN; expected a finite number\./);
    assert.match(await wrong("name"), /column "name" holds texts; expected numbers\./);
    assert.match(await wrong("when"), /column "when" holds .*; expected numbers\./);
    assert.match(await wrong("f23"), /has no column "f23"; its columns are .* \| Did you mean "f32"\?/);
  }
});

test("blocks of LZ4 that repeat what earlier ones held are unpacked", async () => {
  const data = await openDataset(arrow("other-wide.arrow", { features: ["x"], label: "y" }), folder);
  assert.equal(data.length, 40_000);
  const { features } = data.read([0, 999, 1000, 39_999]);
  assert.deepEqual(Array.from(features), [0, 999, 0, 999]);
});

test("lists of entries of a dictionary have the entries", async () => {
  const data = await openDataset(arrow("other-codes.arrow", { features: ["x"], label: "y" }), folder);
  assert.deepEqual([...data.read([0, 1, 2]).features], [3.5, 0.25, 3.5, 7, 7, 0.25]);
});

test("decimals are scaled, also where only the newer words of Parquet say that they are some", async () => {
  const bytes = await readFile(path.join(folder, "other-decimals.pq"));
  // The older words, with the newer ones behind them, and the length of what is at the file's end.
  const at = bytes.indexOf("25 0a 15 04 15 18 2c 5c 15 04".replaceAll(" ", ""), "hex");
  const newer = Buffer.concat([bytes.subarray(0, at), Buffer.of(0x6c), bytes.subarray(at + 7)]);
  newer.writeUInt32LE(newer.readUInt32LE(newer.length - 8) - 6, newer.length - 8);
  for (const file of [bytes, newer]) {
    const { value } = await parquetPieces(bytesInMemory("a", file), { features: ["money"], label: "y" }).next();
    assert.deepEqual(value!.columns[0], {
      name: "money",
      type: "decimal",
      shape: [],
      values: Float32Array.of(-1.5, 0, 12345.67),
    });
  }
});

test("a column that is read has to be packed by what is known, and in this file; others need not", async () => {
  const whole = await readFile(path.join(folder, "none.parquet"));
  const described = (name: string) =>
    whole.indexOf(Buffer.from(`\x19\x18${String.fromCharCode(name.length)}${name}\x15`));
  const read = (bytes: Uint8Array, feature: string) =>
    parquetPieces(bytesInMemory("a", bytes), { features: [feature], label: "i64" }).next();
  const packed = Buffer.from(whole);
  packed[described("name") + 8] = 6; // LZO
  assert.equal((await read(packed, "f32")).value?.count, 8);
  packed[described("f32") + 7] = 6;
  assert.match(await errorOf(read(packed, "f32")), /a is packed by LZO; expected Snappy/);
  // A name of another file, "a", before what is known of the column.
  const at = whole.lastIndexOf("26001c", described("f32"), "hex");
  const elsewhere = Buffer.concat([whole.subarray(0, at), Buffer.from("18016116", "hex"), whole.subarray(at + 1)]);
  elsewhere.writeUInt32LE(elsewhere.readUInt32LE(elsewhere.length - 8) + 3, elsewhere.length - 8);
  assert.match(await errorOf(read(elsewhere, "f32")), /column "f32" is in another file, which is not read/);
  assert.equal((await read(elsewhere, "f64")).value?.count, 8);
});

test("TFRecord files have the numbers that TensorFlow reads, plain and as gzip", async () => {
  const expected = await values("records.json");
  const digests = new Set<string>();
  for (const file of ["plain.tfrecord", "gzip.tfrecord.gz"]) {
    const data = await openDataset(tfrecord(file, { features: ["pixels", "count"], label: "class" }), folder);
    digests.add(data.digest);
    assert.deepEqual(data.columns.features, [
      { name: "pixels", type: "float32", shape: [6] },
      { name: "count", type: "int64", shape: [] },
    ]);
    const read = data.read(Array.from({ length: rows }, (_, i) => i));
    const wanted = Array.from({ length: rows }, (_, i) => [
      ...expected.pixels!.slice(6 * i, 6 * i + 6),
      expected.count![i],
    ]);
    assert.deepEqual(Array.from(read.features), wanted.flat());
    assert.deepEqual(Array.from(read.label), expected.class);
    const wrong = (features: string) =>
      errorOf(openDataset(tfrecord(file, { features: [features], label: "class" }), folder));
    assert.match(await wrong("ragged"), /, row 1, column "ragged" is a list; expected a number\./);
    assert.match(await wrong("name"), /record 0, column "name" holds texts; expected numbers\./);
    assert.match(await wrong("clas"), /has no column "clas"; .* \| Did you mean "class"\?/);
  }
  assert.equal(digests.size, 1, "gzip is no part of the digest");
});

test("rows in the cache are found by the versions of the packages that decoded them", async () => {
  const { dependencies } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
  for (const [name, version] of Object.entries(decoderVersions)) assert.equal(dependencies[name], version, name);
});

test("several files are one set of samples, in the order of their names, with a digest of its own", async () => {
  const named = { features: ["f32"], label: "u8" };
  const both = await openDataset(parquet("[gz]*.parquet".replace("[gz]", ""), named), folder);
  const names = both.files.map((file) => path.basename(file));
  assert.deepEqual(names, [...names].sort());
  assert.equal(both.length, names.length * rows);
  const one = await openDataset(parquet("gzip.parquet", named), folder);
  assert.deepEqual(both.read([rows, 2 * rows - 1]), one.read([0, rows - 1]));
  assert.notEqual(both.digest, one.digest);
  assert.match(await errorOf(openDataset(parquet("*.parq", named), folder)), /^No file matches \*\.parq/);
});

/** Damaged files are read, or refused by an error that is meant for it. */
async function readDamaged(
  context: Parameters<typeof Fuzz.begin>[0],
  files: readonly string[],
  named: NamedColumns,
  decode: (source: ByteSource, named: NamedColumns) => AsyncIterable<TablePiece>,
  inputs: number,
): Promise<void> {
  const samples = await Promise.all(files.map((file) => readFile(path.join(folder, file))));
  const fuzz = Fuzz.begin(context);
  let refused = 0;
  for (let n = 0; n < inputs; n++) {
    await new Promise(setImmediate); // the test's limit of time can end it here
    const whole = fuzz.input(samples);
    const bytes = fuzz.below(4) === 0 ? whole.subarray(0, fuzz.below(whole.length + 1)) : whole;
    try {
      for await (const { count, columns } of decode(bytesInMemory("a", bytes), named)) {
        for (const column of columns) {
          if ("texts" in column) {
            assert.equal(column.texts.length, count);
            assert.ok(Array.from(column.texts).every(isTextValue));
            continue;
          }
          const { values, shape } = column;
          assert.equal(
            values.length,
            shape.reduce((a, b) => a * b, count),
          );
          assert.ok(values.every(Number.isFinite));
        }
      }
    } catch (error) {
      const isMeant = error instanceof LockstepError && error.code === "invalid-data" && !isOwnMistake(error.cause);
      if (!isMeant) throw new Error(`input ${n} is neither read nor refused`, { cause: error });
      refused++;
    }
  }
  assert.ok(refused > inputs / 20 && refused < inputs, `${refused} of ${inputs} were refused`);
}

/** What a column of categories or texts may hold, for others to read or refuse. */
function isTextValue(value: unknown): boolean {
  if (value === null || value instanceof Uint8Array || Array.isArray(value)) return true;
  return ["string", "bigint", "number", "boolean"].includes(typeof value);
}

const textColumns: NamedColumns = {
  features: ["city", "notes", "size"],
  label: "kind",
  columns: { city: "category", notes: { kind: "words", length: 3 }, size: "category", kind: "category" },
};
const textFiles = async (end: string) =>
  (await readdir(path.join(folder, "texts")))
    .filter((name) => name.endsWith(end))
    .map((name) => path.join("texts", name));

/** A value that this program's own code did not expect; what a package did not expect of damaged bytes is refused like any other. */
function isOwnMistake(cause: unknown): boolean {
  if (!(cause instanceof TypeError || cause instanceof ReferenceError)) return false;
  const place = cause.stack?.split("\n").find((line) => /:\d+:\d+\)?$/.test(line)) ?? "";
  return !/node_modules|node:/.test(place);
}

test("Parquet whose damage leads hyparquet round in circles, or to numbers without end, is refused", async () => {
  const named = { features: ["list", "nested"], label: "i64" };
  const cases: [file: string, at: number, bytes: readonly number[], message: RegExp][] = [
    ["v2.parquet", 294, [0x05], /a page says undefined values, where 8 are possible/],
    ["v2.parquet", 297, [0x80], /a page says undefined bytes, where 46 are possible/],
    ["v2.parquet", 704, [0], /a page says undefined bytes, where 70 are possible/],
    ["none.parquet", 5638, [1], /has 2 columns "list"/],
    [
      "none.parquet",
      1268,
      [0xfe, 0xff, 0xff, 0xff, 0x0f],
      /a page says 2147483647 values in a run, where 32 are possible/,
    ],
  ];
  for (const [file, at, damage, message] of cases) {
    const bytes = await readFile(path.join(folder, file));
    bytes.set(damage, at);
    assert.match(await errorOf(parquetPieces(bytesInMemory("a", bytes), named).next()), message);
  }
});

test("damaged Parquet files are refused, or read as whole numbers of rows", { timeout: 120_000 }, async (context) => {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".parquet"));
  await readDamaged(context, files, { features: ["list", "f32"], label: "i64" }, parquetPieces, 2000);
  await readDamaged(context, await textFiles(".parquet"), textColumns, parquetPieces, 1000);
});

test("what is packed by zstd and asks for more memory than it can need is refused before any is taken", async () => {
  const frame = (flags: number, ...header: number[]) =>
    Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, flags, ...header, ...new Uint8Array(32)]);
  const long = [0, 0, 0, 0, 1, 0, 0, 0];
  checkZstdFrame(frame(0x20, 10), 10);
  checkZstdFrame(frame(0x40, 0xff, 4, 0), 260);
  checkZstdFrame(frame(0, 17 << 3), 10);
  checkZstdFrame(frame(0xc3, 0xff, 0, 0, 0, 0, ...long), 2 ** 32);
  assert.throws(() => checkZstdFrame(frame(0x20, 10), 9), /says that it is 10 bytes and not 9/);
  assert.throws(() => checkZstdFrame(frame(0x40, 0, 4, 0), 259), /says that it is 260 bytes and not 259/);
  assert.throws(() => checkZstdFrame(frame(0, (17 << 3) + 1), 10), /asks for a window of 150994944 bytes/);
  assert.throws(
    () => checkZstdFrame(frame(0xe3, 0, 0, 0, 0, ...long), 2 ** 32 - 1),
    /says that it is 4294967296 bytes/,
  );
  for (const file of ["zstd.arrow", "zstd.parquet"]) {
    const bytes = await readFile(path.join(folder, file));
    let [frames, refused] = [0, 0];
    for (
      let at = bytes.indexOf(frame(0).subarray(0, 4));
      at >= 0;
      at = bytes.indexOf(frame(0).subarray(0, 4), at + 1)
    ) {
      const damaged = Uint8Array.from(bytes);
      damaged.set([0, 0xa7], at + 4);
      frames++;
      const read = file.endsWith("arrow") ? arrowPieces : parquetPieces;
      const all = async () => {
        for await (const piece of read(bytesInMemory("a", damaged), { features: ["f32"], label: "f32" }))
          assert.ok(piece);
      };
      // Others than these columns' are not unpacked.
      await all().catch((error: unknown) => {
        refused++;
        assert.match(String(error), /asks for a window of \d{10} bytes/);
      });
    }
    assert.ok(frames > 4 && refused > 0, `${file}: ${refused} of ${frames}`);
  }
});

test("damaged Arrow files are refused, or read as whole numbers of rows", { timeout: 120_000 }, async (context) => {
  const files = ["uncompressed.arrow", "lz4.arrow", "zstd.arrow", "polars.arrow", "stream.arrows"];
  await readDamaged(context, files, { features: ["nested", "f16"], label: "kind" }, arrowPieces, 400);
  const texts = [...(await textFiles(".arrow")), ...(await textFiles(".arrows"))];
  assert.equal(texts.length, 9);
  await readDamaged(context, texts, textColumns, arrowPieces, 1000);
});

test("an Arrow file is read by its footer, and refused where that leads elsewhere", async () => {
  const whole = await readFile(path.join(folder, "texts", "polars-codes.arrow"));
  const read = async (bytes: Uint8Array) => {
    let count = 0;
    for await (const piece of arrowPieces(bytesInMemory("a", bytes), textColumns)) count += piece.count;
    return count;
  };
  const changed = (change: (bytes: Buffer, blocks: (number | undefined)[]) => void) => {
    const bytes = Buffer.from(whole);
    // Where the footer lists the messages that begin at these places.
    const footer = bytes.length - 10 - bytes.readInt32LE(bytes.length - 10);
    const place = (begin: number) => bytes.indexOf(Buffer.from(BigInt64Array.of(BigInt(begin)).buffer), footer);
    change(bytes, [5024, 5344, 760].map(place));
    return bytes;
  };
  assert.equal(await read(whole), 40);
  const cases: [bytes: Uint8Array, message: RegExp][] = [
    [whole.subarray(0, whole.length - 1), /a is damaged: it does not end with "ARROW1"\./],
    [whole.subarray(0, 8), /a is damaged: it does not end with "ARROW1"\./],
    [Buffer.from("ARROW1"), /a is damaged: it does not end with "ARROW1"\./],
    [
      changed((bytes) => bytes.writeInt32LE(-1, bytes.length - 10)),
      /it says that its footer has -1 bytes, of the 7688/,
    ],
    [changed((bytes) => bytes.writeInt32LE(7673, bytes.length - 10)), /its footer has 7673 bytes, of the 7688/],
    [changed((bytes, [first]) => bytes.writeInt32LE(4, first! + 8)), /its footer lists what lies outside of it/],
    [changed((bytes, [first]) => bytes.writeInt32LE(7688, first! + 16)), /its footer lists what lies outside of it/],
    [
      changed((bytes, [first, , rows]) => bytes.copyWithin(first!, rows!, rows! + 24)),
      /lists a message as what it is not/,
    ],
    [
      changed((bytes, [first, second]) => bytes.copyWithin(second!, first!, first! + 24)),
      /it has dictionary \d twice\./,
    ],
  ];
  for (const [bytes, message] of cases) assert.match(await errorOf(read(bytes)), message);
});

test("damaged TFRecord files are refused, whatever bit it is", { timeout: 120_000 }, async (context) => {
  const named = { features: ["pixels", "count"], label: "class" };
  await readDamaged(context, ["plain.tfrecord", "gzip.tfrecord.gz"], named, tfrecordPieces, 2000);
  await readDamaged(context, ["texts/table.tfrecord"], { ...textColumns, missing: [] }, tfrecordPieces, 1000);
  const plain = await readFile(path.join(folder, "plain.tfrecord"));
  const fuzz = Fuzz.begin(context);
  for (let n = 0; n < 200; n++) {
    const bytes = Uint8Array.from(plain);
    bytes[fuzz.below(bytes.length)]! ^= 1 << fuzz.below(8);
    const read = async () => {
      for await (const piece of tfrecordPieces(bytesInMemory("a", bytes), named)) assert.ok(piece);
    };
    await assert.rejects(read, LockstepError);
  }
});
