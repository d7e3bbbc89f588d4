/** IDX, NPY and NPZ: as their reference reads them, or refused with a sentence. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it, test } from "node:test";
import { deflateRawSync, gzipSync } from "node:zlib";
import { MemoryBudget, type NumberArray } from "../../src/adapters/data/array-file.ts";
import { fileAt } from "../../src/adapters/data/byte-source.ts";
import { openIdxFile } from "../../src/adapters/data/idx.ts";
import { openNpyFile } from "../../src/adapters/data/npy.ts";
import { openNpzArray } from "../../src/adapters/data/npz.ts";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { sizeOf } from "../../src/core/transforms.ts";
import { type DataSource, idx, npy, npz } from "../../src/index.ts";
import { fileInMemory } from "../fixtures/byte-source.ts";
import { Fuzz } from "../fixtures/fuzz.ts";
import { idxBytes } from "../fixtures/idx.ts";
import { pythonWithNumpy, runPython } from "../fixtures/numpy.ts";

let folder = "";
let cacheHome: string | undefined;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-arrays-"));
  cacheHome = process.env.XDG_CACHE_HOME;
  await write("images", images);
  await write("labels", labels);
});
after(async () => {
  if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = cacheHome;
  await rm(folder, { recursive: true, force: true });
});

const at = (name: string) => path.join(folder, name);
const write = (name: string, bytes: Uint8Array) => writeFile(at(name), bytes);
const bytesOf = async (name: string) => new Uint8Array(await readFile(at(name)));

async function errorOf(source: DataSource, memoryBytes = 2 ** 31): Promise<string> {
  try {
    await openDataset(source, folder, { memoryBytes });
  } catch (error) {
    assert(error instanceof LockstepError);
    assert.equal(error.code, "invalid-data");
    return error.message.replaceAll(`${folder}/`, "");
  }
  return assert.fail("the data was accepted");
}

const decodeIdx = (name: string, bytes: Uint8Array) =>
  openIdxFile(fileInMemory(name, bytes), new MemoryBudget(2 ** 31));
const decodeNpy = (name: string, bytes: Uint8Array) =>
  openNpyFile(fileInMemory(name, bytes), new MemoryBudget(2 ** 31));
const decodeNpz = (name: string, bytes: Uint8Array, array: string) =>
  openNpzArray(fileInMemory(name, bytes), array, new MemoryBudget(2 ** 31));

function valuesOf(array: NumberArray): Float32Array {
  const values = new Float32Array(sizeOf(array.shape));
  const [count = 0, ...shape] = array.shape;
  const width = sizeOf(shape);
  for (let row = 0; row < count; row++) array.read(row, values.subarray(row * width, (row + 1) * width));
  return values;
}

/** An NPY file of version 1. */
function npyBytes(type: string, shape: string, elements: Uint8Array, order = "False"): Buffer {
  const dictionary = `{'descr': ${type}, 'fortran_order': ${order}, 'shape': ${shape}, }`;
  const header = `${dictionary.padEnd(117)}\n`;
  return Buffer.concat([
    Buffer.from("\x93NUMPY\x01\x00", "latin1"),
    Buffer.from([header.length, 0]),
    Buffer.from(header),
    elements,
  ]);
}

const images = idxBytes([3, 2, 2], [0, 1, 2, 3, 10, 11, 12, 13, 253, 254, 255, 0]);
const labels = idxBytes([3], [7, 8, 9]);

describe("IDX files", () => {
  it("give samples by index in the shape of their header, with a channel if it is asked for", async () => {
    const data = await openDataset(idx({ features: "images", labels: "labels" }), folder);
    assert.deepEqual([data.length, data.features.shape, data.label.shape], [3, [2, 2], []]);
    assert.deepEqual(data.read([2, 0, 2]), {
      count: 3,
      features: Float32Array.of(253, 254, 255, 0, 0, 1, 2, 3, 253, 254, 255, 0),
      label: Float32Array.of(9, 7, 9),
    });
    const withChannels = await openDataset(idx({ features: "images", labels: "labels", channels: true }), folder);
    assert.deepEqual(withChannels.features.shape, [2, 2, 1]);
    assert.notEqual(withChannels.digest, data.digest);
  });

  it("are the same data with and without gzip, and other data with another byte", async () => {
    await write("images.gz", gzipSync(images));
    await write("other", idxBytes([3, 2, 2], [1, 1, 2, 3, 10, 11, 12, 13, 253, 254, 255, 0]));
    const digestOf = async (features: string) =>
      (await openDataset(idx({ features, labels: "labels" }), folder)).digest;
    assert.match(await digestOf("images"), /^sha256:[0-9a-f]{64}$/);
    assert.equal(await digestOf("images.gz"), await digestOf("images"));
    assert.notEqual(await digestOf("other"), await digestOf("images"));
  });

  it("of any size are the same samples with the same digest, read in place, or through the cache where they are packed", async () => {
    process.env.XDG_CACHE_HOME = at("cache");
    await write("packed", gzipSync(images));
    const cached = () => readdir(at("cache/lockstep/data")).catch(() => [] as string[]);
    const expected = await openDataset(idx({ features: "images", labels: "labels" }), folder);
    for (const [features, memoryBytes, entries] of [
      ["images", 0, 0],
      ["images", 3, 0],
      ["packed", 12, 0],
      ["packed", 3, 1],
      ["packed", 0, 1],
    ] as const) {
      await rm(at("cache"), { recursive: true, force: true });
      for (let times = 0; times < 2; times++) {
        const data = await openDataset(idx({ features, labels: "labels" }), folder, { memoryBytes });
        assert.equal(data.digest, expected.digest);
        assert.deepEqual(data.read([2, 0, 1]), expected.read([2, 0, 1]));
        assert.deepEqual(data.labels([2, 0, 1]), expected.labels([2, 0, 1]));
        assert.equal((await cached()).length, entries, `${features} with ${memoryBytes}`);
      }
    }
    for (const [file, says] of [
      ["cut", /^cut has 11 bytes of elements; expected 12/],
      ["long", /^long unpacks to more than the 28 bytes/],
    ] as const) {
      await write("cut", images.subarray(0, -1));
      await write("long", gzipSync(Buffer.concat([images, Buffer.of(1)])));
      assert.match(await errorOf(idx({ features: file, labels: "labels" }), 0), says);
    }
  });

  it("of every element type, big-endian", async () => {
    const cases: [code: number, hex: string, values: number[]][] = [
      [8, "00ff", [0, 255]],
      [9, "7f80", [127, -128]],
      [11, "01028000", [258, -32768]],
      [12, "0000000180000000", [1, -(2 ** 31)]],
      [13, "3fc00000c0000000", [1.5, -2]],
      [14, "3ff8000000000000c000000000000000", [1.5, -2]],
    ];
    for (const [code, hex, values] of cases) {
      const bytes = Buffer.from(`0000${code.toString(16).padStart(2, "0")}0100000002${hex}`, "hex");
      assert.deepEqual([...valuesOf(await decodeIdx("a", bytes))], values, `type ${code}`);
      // With a second dimension, numbers of eight bytes begin between two multiples of eight.
      const two = Buffer.from(`0000${code.toString(16).padStart(2, "0")}020000000200000001${hex}`, "hex");
      assert.deepEqual([...valuesOf(await decodeIdx("a", two))], values, `type ${code}, two dimensions`);
    }
  });

  it("that are wrong are refused with the file, what it has and what was expected", async () => {
    const cases: [bytes: Uint8Array, says: RegExp][] = [
      [Buffer.from("1,2,3\n"), /^bad is no IDX file: it begins with 0x312c322c; expected 0x0000/],
      [new Uint8Array(0), /^bad is no IDX file: it begins with nothing/],
      [
        Buffer.from("00000a0100000001ff", "hex"),
        /^bad says that its elements are of type 0x0a, which IDX does not have/,
      ],
      [images.subarray(0, 9), /^bad ends within its header of 16 bytes/],
      [
        images.subarray(0, -1),
        /^bad has 11 bytes of elements; expected 12, as its header says uint8 of shape \[3, 2, 2\]/,
      ],
      [Buffer.concat([images, Buffer.of(0)]), /^bad has 13 bytes of elements; expected 12/],
      [gzipSync(images).subarray(0, -9), /^bad is a damaged or unfinished gzip file: unexpected end of file/],
      [
        gzipSync(Buffer.concat([images, new Uint8Array(9)])),
        /^bad unpacks to more than the 28 bytes that its header says/,
      ],
      [gzipSync(images.subarray(0, -1)), /^bad has 11 bytes of elements; expected 12/],
      [idxBytes([0, 2], []), /^bad has no samples: its shape is \[0, 2\]/],
      [idxBytes([], [1]), /^bad is a single number/],
      [idxBytes([3, 0], []), /^bad has samples without numbers/],
      [Buffer.from("00000d01000000017fc00000", "hex"), /^bad: the element at \[0\] is NaN; expected finite numbers/],
      [idxBytes([2, 1], [1, 2]), /^bad has 2 samples, and labels has labels for 3; expected one for each/],
    ];
    for (const [bytes, says] of cases) {
      await write("bad", bytes);
      assert.match(await errorOf(idx({ features: "bad", labels: "labels" })), says);
    }
    assert.match(await errorOf(idx({ features: "none", labels: "labels" })), /^There is no data file none\.$/);
  });
});

describe("NPY and NPZ files", () => {
  it("that are wrong are refused with the file, what it has and what was expected", async () => {
    const two = Uint8Array.of(1, 2);
    await write("y.npy", npyBytes("'|u1'", "(2,)", two));
    const cases: [bytes: Uint8Array, says: RegExp][] = [
      [Buffer.from("PK"), /^bad\.npy is no NPY file/],
      [
        Buffer.from("\x93NUMPY\x04\x00\x00\x00\x00\x00", "latin1"),
        /^bad\.npy is an NPY file of version 4; expected 1, 2 or 3/,
      ],
      [npyBytes("'|u1'", "(2,)", two).subarray(0, 40), /^bad\.npy ends within its header/],
      [npyBytes("'|u1'", "(2, -1)", two), /has a header that is not NumPy's: "\{'descr': '\|u1'/],
      [
        npyBytes("'<c16'", "(2,)", two),
        /has elements of type "<c16"; expected bool, int, uint or float of 16, 32 or 64/,
      ],
      [npyBytes("'|O'", "(2,)", two), /has elements of type "\|O"/],
      [npyBytes("'<U5'", "(2,)", two), /has elements of type "<U5"/],
      [npyBytes("[('a', '<f4')]", "(2,)", two), /has records of several fields/],
      [npyBytes("'|u1'", "()", two), /is a single number/],
      [
        npyBytes("'<f4'", "(2,)", two),
        /has 2 bytes of elements; expected 8, as its header says float32 of shape \[2\]/,
      ],
      [
        npyBytes("'<f8'", "(2, 2)", Buffer.from(Float64Array.of(1, 2, 3, 1e300).buffer)),
        /element at \[1, 1\] is infinite, or too large/,
      ],
      [npyBytes("'|u1'", "(1, 2)", two), /^bad\.npy has 1 sample, and y\.npy has labels for 2/],
    ];
    for (const [bytes, says] of cases) {
      await write("bad.npy", bytes);
      assert.match(await errorOf(npy({ features: "bad.npy", label: "y.npy" })), says);
    }
    await write("bad.npz", npyBytes("'|u1'", "(2,)", two));
    assert.match(
      await errorOf(npz({ path: "bad.npz", features: "x", label: "y" })),
      /^bad\.npz is no NPZ file: it is no ZIP/,
    );
    await write("some.npz", zipOf([["x_train.npy", npyBytes("'|u1'", "(2,)", two), 8]]));
    assert.match(
      await errorOf(npz({ path: "some.npz", features: "x", label: "y" })),
      /^some\.npz has no array "x"; its arrays are "x_train"\.$/,
    );
    const damaged = zipOf([["x.npy", npyBytes("'|u1'", "(2,)", two), 0]]);
    damaged[40 + 60]! ^= 1;
    await write("damaged.npz", damaged);
    assert.match(
      await errorOf(npz({ path: "damaged.npz", features: "x", label: "x" })),
      /^damaged\.npz is damaged: "x\.npy" is not what its checksum says/,
    );
  });

  it("in archives of the form for 4 GiB and more are read as in others; numbers that are missing there are damage", async () => {
    for (const method of [0, 8] as const) {
      const files: Parameters<typeof zipOf>[0] = [
        ["a.npy", npyBytes("'|u1'", "(2,)", Uint8Array.of(8, 9)), method],
        ["x.npy", small, method],
      ];
      for (const memoryBytes of [2 ** 31, 0]) {
        process.env.XDG_CACHE_HOME = at("cache");
        await write("long.npz", zipOf(files, true));
        const array = await openNpzArray(fileAt(at("long.npz")), "x", new MemoryBudget(memoryBytes));
        assert.deepEqual([...valuesOf(array)], [1, 2, 3, 4]);
        const other = await openNpzArray(fileAt(at("long.npz")), "a", new MemoryBudget(memoryBytes));
        assert.deepEqual([...valuesOf(other)], [8, 9]);
      }
    }
    const cut = zipOf([["x.npy", small, 0]], true);
    cut.writeUInt16LE(2, cut.indexOf(Buffer.from([1, 0, 24, 0])));
    await write("cut.npz", cut);
    assert.match(
      await errorOf(npz({ path: "cut.npz", features: "x", label: "x" })),
      /^cut\.npz is damaged: its directory is not whole/,
    );
  });

  it("of several names are one set of samples, file by file; those that do not belong together are refused", async () => {
    const u1 = (shape: string, ...values: number[]) => npyBytes("'|u1'", shape, Uint8Array.from(values));
    await write("x-1.npy", u1("(2, 2)", 1, 2, 3, 4));
    await write("x-2.npy", u1("(1, 2)", 5, 6));
    await write("y-1.npy", u1("(2,)", 7, 8));
    await write("y-2.npy", u1("(1,)", 9));
    for (const memoryBytes of [2 ** 31, 4, 0]) {
      const data = await openDataset(npy({ features: "x-*.npy", label: "y-*.npy" }), folder, { memoryBytes });
      assert.deepEqual(data.read([2, 0, 1]), {
        count: 3,
        features: Float32Array.of(5, 6, 1, 2, 3, 4),
        label: Float32Array.of(9, 7, 8),
      });
      assert.deepEqual(
        data.files.map((file) => path.basename(file)),
        ["x-1.npy", "x-2.npy", "y-1.npy", "y-2.npy"],
      );
    }
    const digestOf = async (features: string, label: string) =>
      (await openDataset(npy({ features, label }), folder)).digest;
    assert.equal(await digestOf("x-1*", "y-1*"), await digestOf("x-1.npy", "y-1.npy"));
    assert.notEqual(await digestOf("x-*", "y-*"), await digestOf("x-1.npy", "y-1.npy"));
    const pair = (n: number) => [["x.npy", u1("(1, 2)", n, n), 8] as const, ["y.npy", u1("(1,)", n), 0] as const];
    await write("z-1.npz", zipOf(pair(1).map((entry) => [...entry])));
    await write("z-2.npz", zipOf(pair(2).map((entry) => [...entry])));
    const archives = await openDataset(npz({ path: "z-*.npz", features: "x", label: "y" }), folder);
    assert.deepEqual([...archives.read([1, 0]).features, ...archives.labels([1, 0])], [2, 2, 1, 1, 2, 1]);

    await write("w-1.npy", u1("(2, 2)", 1, 2, 3, 4));
    const cases: [bytes: Uint8Array, says: RegExp][] = [
      [
        u1("(1, 3)", 5, 6, 7),
        /^w-2\.npy has samples of uint8 of shape \[3\]; expected uint8 of shape \[2\], as in w-1\.npy/,
      ],
      [
        npyBytes("'|i1'", "(1, 2)", Uint8Array.of(5, 6)),
        /^w-2\.npy has samples of int8 of shape \[2\]; expected uint8/,
      ],
      [u1("(2, 2)", 5, 6, 7, 8), /^w-2\.npy has 2 samples, and y-2\.npy has labels for 1; expected one for each/],
    ];
    for (const [bytes, says] of cases) {
      await write("w-2.npy", bytes);
      assert.match(await errorOf(npy({ features: "w-*.npy", label: "y-*.npy" })), says);
    }
    assert.match(
      await errorOf(npy({ features: "w-*.npy", label: "y-1.npy" })),
      /^w-\*\.npy matches 2 files of features, and y-1\.npy 1 file of labels; expected as many/,
    );
    assert.match(await errorOf(npy({ features: "v-*.npy", label: "y-*.npy" })), /^No file matches v-\*\.npy/);
  });

  const limit = { timeout: 120_000 };

  it("that NumPy writes are read as NumPy reads them, of every type, order and version", limit, async (context) => {
    if (cacheHome === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = cacheHome; // the environment with NumPy lies there
    const python = await pythonWithNumpy();
    if (typeof python !== "string") return context.skip(python.reason);
    const listed = await runPython(python, numpyProgram, folder);
    process.env.XDG_CACHE_HOME = at("cache");
    const cases = JSON.parse(listed) as { name: string; shape: number[]; archive: string | null }[];
    assert(cases.length > 60);
    for (const { name, shape, archive } of cases) {
      const decoded =
        archive === null
          ? await decodeNpy(name, await bytesOf(`${name}.npy`))
          : await decodeNpz(archive, await bytesOf(archive), name);
      assert.deepEqual(decoded.shape, shape, name);
      const expected = new Float32Array((await bytesOf(`${name}.f32`)).buffer);
      assert.deepEqual(valuesOf(decoded), expected, `${name} in ${archive ?? "its own file"}`);
      // The same where none of it may be in memory: in place, or through the cache.
      const onDisk =
        archive === null
          ? openNpyFile(fileAt(at(`${name}.npy`)), new MemoryBudget(0))
          : openNpzArray(fileAt(at(archive), archive), name, new MemoryBudget(0));
      if (archive === "packed.npz" && name.includes(" F ")) {
        await assert.rejects(onDisk, { code: "invalid-data", message: /is packed, in Fortran order, and larger/ });
        continue;
      }
      const array = await onDisk;
      assert.deepEqual([valuesOf(array), array.sha256, array.shape], [expected, decoded.sha256, shape], name);
    }
    const data = await openDataset(npz({ path: "packed.npz", features: "<f4 C 1", label: "<i8 C 1" }), folder);
    assert.deepEqual([data.length, data.features.shape, data.label.shape], [5, [3, 4], [3, 4]]);
    const flat = await openDataset(npy({ features: "flat.npy", label: "flat.npy" }), folder);
    assert.deepEqual([flat.features.shape, flat.label.shape], [[1], []]);
  });
});

/** Writes arrays of every kind, each beside its elements as NumPy makes float32 of them, and prints their list. */
const numpyProgram = `
import json, os, sys
import numpy as np
os.chdir(sys.argv[1])
random = np.random.default_rng(7)
cases, arrays = [], {}
def known(name, array, archive=None):
    with np.errstate(all="ignore"):
        array.astype(np.float32).astype("<f4").tofile(name + ".f32")
    cases.append({"name": name, "shape": list(array.shape), "archive": archive})
for code in ["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]:
    for endian in "<>":
        dtype = np.dtype(endian + code)
        size = 60
        if dtype.kind in "ui":
            info = np.iinfo(dtype)
            values = random.integers(info.min, info.max, size, dtype=dtype.newbyteorder("="), endpoint=True)
            if dtype.itemsize == 8: # halfway between two float32, and beside it
                values[:4] = [2**62 + 2**38, 2**62 + 2**38 + 1, 2**62 + 2**38 - 1, info.max]
        elif dtype.kind == "f":
            values = random.standard_normal(size) * 2.0 ** random.integers(-20, 10, size)
        else:
            values = random.integers(0, 2, size)
        for order in "CF":
            array = np.array(values.reshape(5, 3, 4), dtype=dtype, order=order)
            for version in [1, 2, 3] if endian == "<" and order == "C" else [1]:
                name = f"{endian}{code} {order} {version}"
                with open(name + ".npy", "wb") as file:
                    np.lib.format.write_array(file, array, version=(version, 0))
                known(name, np.load(name + ".npy"))
            arrays[f"{endian}{code} {order} 1"] = array
np.savez("plain.npz", **arrays)
np.savez_compressed("packed.npz", **arrays)
for archive in ["plain.npz", "packed.npz"]:
    with np.load(archive) as loaded:
        for name in loaded.files:
            known(name, loaded[name], archive)
np.save("flat.npy", np.arange(5, dtype=np.float32))
print(json.dumps(cases))
`;

/** A ZIP archive; 0 is stored, 8 deflated. `isLong`: with its numbers where those of 4 GiB and more are (ZIP64). */
function zipOf(files: readonly [name: string, bytes: Uint8Array, method: 0 | 8][], isLong = false): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes, method] of files) {
    const packed = method === 0 ? bytes : deflateRawSync(bytes);
    const local = Buffer.alloc(30 + name.length);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.write(name, 30);
    const long = Buffer.alloc(isLong ? 4 + 24 : 0);
    const entry = Buffer.alloc(46 + name.length + long.length);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc32(bytes), 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(bytes.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    entry.write(name, 46);
    if (isLong) {
      entry.fill(0xff, 20, 28).fill(0xff, 42, 46).writeUInt16LE(long.length, 30);
      long.writeUInt16LE(1, 0);
      long.writeUInt16LE(24, 2);
      for (const [i, value] of [bytes.length, packed.length, offset].entries()) {
        long.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
      }
      long.copy(entry, 46 + name.length);
    }
    parts.push(local, Buffer.from(packed));
    directory.push(entry);
    offset += local.length + packed.length;
  }
  const sizeBytes = Buffer.concat(directory).length;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(sizeBytes, 12);
  end.writeUInt32LE(offset, 16);
  const long = Buffer.alloc(isLong ? 56 + 20 : 0);
  if (isLong) {
    end.fill(0xff, 8, 20);
    long.writeUInt32LE(0x06064b50, 0);
    for (const [i, value] of [files.length, sizeBytes, offset].entries()) {
      long.writeBigUInt64LE(BigInt(value), 32 + 8 * i);
    }
    long.writeUInt32LE(0x07064b50, 56);
    long.writeBigUInt64LE(BigInt(offset + sizeBytes), 64);
  }
  return Buffer.concat([...parts, ...directory, long, end]);
}

/** Bit by bit. */
function crc32(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}

const small = npyBytes("'<f4'", "(2, 2)", Buffer.from(Float32Array.of(1, 2, 3, 4).buffer));
const decoders: readonly [what: string, samples: Uint8Array[], decode: (bytes: Uint8Array) => Promise<NumberArray>][] =
  [
    ["IDX", [images, gzipSync(images), labels], (bytes) => decodeIdx("f", bytes)],
    ["NPY", [small, npyBytes("'>i2'", "(2, 2)", new Uint8Array(8), "True")], (bytes) => decodeNpy("f", bytes)],
    [
      "NPZ",
      [
        zipOf([["x.npy", small, 0]]),
        zipOf([
          ["x.npy", small, 8],
          ["y.npy", small, 8],
        ]),
        zipOf([["x.npy", small, 0]], true),
      ],
      (bytes) => decodeNpz("f", bytes, "x"),
    ],
  ];

for (const [what, samples, decode] of decoders) {
  test(`damaged ${what} files are read or refused, never anything else`, { timeout: 120_000 }, async (context) => {
    const fuzz = Fuzz.begin(context);
    const inputs = 25_000;
    let refused = 0;
    for (let n = 0; n < inputs; n++) {
      try {
        const decoded = await decode(fuzz.input(samples));
        assert(valuesOf(decoded).every(Number.isFinite), `input ${n}`);
      } catch (error) {
        if (!(error instanceof LockstepError && error.code === "invalid-data")) {
          throw new Error(`input ${n} is neither read nor refused`, { cause: error });
        }
        refused++;
      }
    }
    assert.ok(refused > inputs / 100 && refused < inputs, `${refused} of ${inputs} were refused`);
  });
}
