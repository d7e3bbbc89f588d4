import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import {
  CheckpointError,
  type CheckpointProblem,
  type Manifest,
  parseManifest,
  serializeManifest,
} from "../../src/core/manifest.ts";
import { encodeHeader } from "../../src/core/safetensors.ts";
import { sharedMemory } from "../../src/core/shared-memory.ts";
import type { CheckpointContent, CheckpointStorage, NamedTensor } from "../../src/ports/checkpoint-storage.ts";

/** A storage that holds nothing yet, and what the suite needs to damage what it stores. */
export interface StorageUnderTest {
  readonly storage: CheckpointStorage;
  /** The messages of all warnings that the storage has logged. */
  readonly warnings: readonly string[];
  readFile(id: string, name: string): Promise<Uint8Array>;
  replaceFile(id: string, name: string, bytes: Uint8Array): Promise<void>;
  removeFile(id: string, name: string): Promise<void>;
}

const fileNames = ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"];

/** A float32 tensor of one dimension, by its bits. */
export function bits(name: string, ...words: number[]): NamedTensor {
  return { name, shape: [words.length], values: new Float32Array(new Uint32Array(words).buffer) };
}

/** A small checkpoint with everything in it that could be lost on the way. */
export function content(id: string, changes: Partial<CheckpointContent["manifest"]> = {}): CheckpointContent {
  const surroundings = new Float32Array([7, 1, 2, 3, 4, 5, 6, 7]);
  return {
    manifest: {
      formatVersion: 1,
      id,
      job: "digits",
      run: "r1",
      lineage: 0,
      era: 0,
      step: 40,
      epoch: 4,
      stepInEpoch: 0,
      generation: 2,
      fencingToken: 17,
      stateDigest: `sha256:${"a".repeat(64)}`,
      weightsDigest: `sha256:${"b".repeat(64)}`,
      fingerprint: { shards: "4" },
      equivalences: ["job.batchSize was 64 and is 32"],
      openings: [],
      members: ["worker-0.k3"],
      metrics: { loss: Number.NaN, val_loss: 0.61 },
      writtenAt: "2025-01-31T12:00:00.000Z",
      ...changes,
    },
    weights: [
      { name: "dense/kernel", shape: [2, 3], values: surroundings.subarray(1, 7) },
      bits("0", 0x7fc00001, 0xffa00000, 0x7f800001, 0x80000000, 0x00000001, 0x807fffff, 0x7f7fffff, 0xff800000),
      { name: "größe", shape: [0, 3], values: new Float32Array(0) },
      { name: "a scalar", shape: [], values: new Float32Array([0.1]) },
    ],
    optimizer: [bits("m/dense/kernel", 0x3f800000, 0x80000000)],
    state: {
      sums: { loss: Number.NaN, least: -0, most: Number.POSITIVE_INFINITY, tiny: 5e-324 },
      list: [1, null, "ü"],
    },
  };
}

/** Equality of all bits, which comparing numbers is not: it takes one NaN for another. */
export function assertSameContent(actual: CheckpointContent, expected: CheckpointContent): void {
  assert.deepStrictEqual(actual.manifest, expected.manifest);
  assert.deepStrictEqual(actual.state, expected.state);
  for (const part of ["weights", "optimizer"] as const) {
    assert.deepStrictEqual(actual[part].map(words), expected[part].map(words));
  }
}

function words({ name, shape, values }: NamedTensor) {
  return { name, shape, words: new Uint32Array(values.slice().buffer) };
}

async function assertRefused(act: Promise<unknown>, problem: CheckpointProblem, message = /./): Promise<void> {
  await assert.rejects(act, (error) => {
    assert.ok(error instanceof CheckpointError, `not a CheckpointError: ${String(error)}`);
    assert.equal(error.problem, problem, error.message);
    assert.equal(error.code, problem === "corrupt" ? "corrupt-checkpoint" : "internal");
    assert.match(error.message, message);
    assert.ok(error.hint, "says what to do");
    return true;
  });
}

/** The promises of the port, for any storage. `open` cleans up after the test by itself. */
export function checkpointStorageContract(
  kind: string,
  open: (context: TestContext) => Promise<StorageUnderTest>,
): void {
  const promise = (name: string, check: (subject: StorageUnderTest) => Promise<void>) =>
    test(`${kind}: ${name}`, async (context) => check(await open(context)));

  promise("what was written is loaded again to the bit", async ({ storage }) => {
    await storage.write(content("one"));
    assertSameContent(await storage.load("one"), content("one"));
  });

  promise("large tensors and very many small ones are loaded again to the bit", async ({ storage }) => {
    const large = Float32Array.from({ length: 2_500_001 }, (_, index) => Math.sin(index));
    const small = Array.from({ length: 1500 }, (_, index) => bits(`w${index}`, index, index + 1, index + 2));
    const optimizer = [...small, { name: "large", shape: [2_500_001], values: large }, bits("last", 1)];
    await storage.write({ ...content("one"), optimizer });
    assertSameContent(await storage.load("one"), { ...content("one"), optimizer });
  });

  promise(
    "a large state in memory that threads share has its hashes, comes back as one row, and a flipped bit of it is found",
    async ({ storage, readFile, replaceFile }) => {
      const length = 1_300_001;
      const shared = new Float32Array(sharedMemory(3 * length * Float32Array.BYTES_PER_ELEMENT));
      for (let i = 0; i < shared.length; i++) shared[i] = Math.cos(i);
      const tensor = (name: string, begin: number, end: number): NamedTensor => {
        return { name, shape: [end - begin], values: shared.subarray(begin, end) };
      };
      const weights = [tensor("w", 0, length - 7), tensor("b", length - 7, length)];
      const optimizer = [tensor("m/w", length, 2 * length), tensor("v/w", 2 * length, 3 * length)];
      const { manifest } = await storage.write({ ...content("one"), weights, optimizer });
      for (const { name, sha256: hash } of manifest.files) assert.equal(hash, sha256(await readFile("one", name)));

      const loaded = await storage.load("one");
      assertSameContent(loaded, { ...content("one"), weights, optimizer });
      const { buffer, byteOffset } = loaded.weights[0]!.values;
      assert.ok(buffer instanceof SharedArrayBuffer);
      assert.deepEqual(
        new Float32Array(buffer, byteOffset, shared.length),
        shared,
        "the optimizer's lie behind the weights",
      );

      for (const name of ["weights.safetensors", "optimizer.safetensors"]) {
        const whole = await readFile("one", name);
        for (const at of [9, whole.length >> 1, whole.length - 1]) {
          const damaged = Uint8Array.from(whole);
          damaged[at]! ^= 64;
          await replaceFile("one", name, damaged);
          await assertRefused(storage.load("one"), "corrupt", new RegExp(name.replace(".", "\\.")));
        }
        await replaceFile("one", name, whole);
      }
      assertSameContent(await storage.load("one"), { ...content("one"), weights, optimizer });
    },
  );

  promise("an optimizer without slots and a state without content are loaded again", async ({ storage }) => {
    const bare = { ...content("one", { metrics: null }), optimizer: [], state: null };
    await storage.write(bare);
    assertSameContent(await storage.load("one"), bare);
  });

  promise("what is returned describes the files as they lie there", async ({ storage, readFile }) => {
    const stored = await storage.write(content("one"));
    const manifestBytes = await readFile("one", "manifest.json");
    assert.equal(stored.manifestSha256, sha256(manifestBytes));
    assert.deepEqual(stored.manifest, parseManifest(Buffer.from(manifestBytes).toString()));
    assert.deepEqual(await storage.list(), [stored]);
    assert.equal(stored.manifest.files.length, 3);
    for (const { name, sizeBytes, sha256: hash } of stored.manifest.files) {
      const bytes = await readFile("one", name);
      assert.deepEqual({ sizeBytes, hash }, { sizeBytes: bytes.length, hash: sha256(bytes) });
    }
  });

  promise("equal tensors make equal files in every checkpoint", async ({ storage, readFile }) => {
    await storage.write(content("one"));
    await storage.write(content("two", { step: 50, run: "r2", writtenAt: "2026-01-01T00:00:00Z" }));
    for (const name of fileNames.slice(0, 3))
      assert.deepEqual(await readFile("one", name), await readFile("two", name));
  });

  promise("a checkpoint is never written over", async ({ storage }) => {
    await storage.write(content("one"));
    const other = { ...content("one", { step: 99 }), weights: [bits("w", 1)] };
    await assert.rejects(storage.write(other), /at .*one already/);
    assertSameContent(await storage.load("one"), content("one"));
    assert.equal((await storage.list()).length, 1);
  });

  promise("of two writers of one id one wins, with all of its own", async ({ storage }) => {
    const contents = [content("one", { step: 1 }), { ...content("one", { step: 2 }), weights: [bits("w", 1)] }];
    const outcomes = await Promise.allSettled(contents.map((one) => storage.write(one)));
    const winner = outcomes.findIndex(({ status }) => status === "fulfilled");
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    assertSameContent(await storage.load("one"), contents[winner]!);
    assert.equal((await storage.list()).length, 1);
  });

  promise("writers of different ids do not disturb each other", async ({ storage }) => {
    const ids = ["a", "b", "c", "d", "e"];
    await Promise.all(ids.map((id, step) => storage.write({ ...content(id, { step }), weights: [bits("w", step)] })));
    assert.deepEqual(
      (await storage.list()).map(({ id }) => id),
      ids,
    );
    for (const [step, id] of ids.entries()) {
      assertSameContent(await storage.load(id), { ...content(id, { step }), weights: [bits("w", step)] });
    }
  });

  promise("the list is ordered by lineage, era and step, and empty at first", async ({ storage }) => {
    assert.deepEqual(await storage.list(), []);
    await storage.write(content("a", { lineage: 1, era: 0, step: 5 }));
    await storage.write(content("d", { lineage: 0, era: 0, step: 100 }));
    await storage.write(content("b", { lineage: 0, era: 1, step: 9 }));
    await storage.write(content("c", { lineage: 0, era: 1, step: 8 }));
    assert.deepEqual(
      (await storage.list()).map(({ id }) => id),
      ["d", "c", "b", "a"],
    );
  });

  promise("a flipped bit is found, wherever it is", async ({ storage, readFile, replaceFile }) => {
    await storage.write(content("one"));
    for (const name of fileNames) {
      const whole = Buffer.from(await readFile("one", name));
      for (let at = 0; at < whole.length; at += at < 16 || at > whole.length - 9 ? 1 : 5) {
        const damaged = Buffer.from(whole);
        damaged[at]! ^= 1 << (at % 8);
        await replaceFile("one", name, damaged);
        await assertRefused(storage.load("one"), "corrupt", new RegExp(name.replace(".", "\\.")));
        await assertRefused(storage.check("one"), "corrupt", new RegExp(name.replace(".", "\\.")));
      }
      await replaceFile("one", name, whole);
    }
    assertSameContent(await storage.load("one"), content("one"));
  });

  promise("a file that is too short or too long is found", async ({ storage, readFile, replaceFile }) => {
    await storage.write(content("one"));
    for (const name of fileNames) {
      const whole = Buffer.from(await readFile("one", name));
      const cuts = [0, 1, 7, 8, 9, whole.length >> 1, whole.length - 1].map((length) => whole.subarray(0, length));
      for (const damaged of [...cuts, Buffer.concat([whole, Buffer.from("\n")]), Buffer.concat([whole, whole])]) {
        await replaceFile("one", name, damaged);
        const finding = name === "manifest.json" ? "manifest" : `is ${damaged.length} bytes long`;
        const says = new RegExp(`${name.replace(".", "\\.")}.*${finding}`);
        await assertRefused(storage.load("one"), "corrupt", says);
        await assertRefused(storage.check("one"), "corrupt", says);
      }
      await replaceFile("one", name, whole);
    }
  });

  promise("a missing checkpoint is missing, not corrupt", async ({ storage }) => {
    await assertRefused(storage.load("one"), "missing", /no checkpoint "one"/);
    await assertRefused(storage.check("one"), "missing", /no checkpoint "one"/);
  });

  promise("what is whole is checked without being loaded, and its manifest is told", async ({ storage }) => {
    const { id, manifest, manifestSha256 } = await storage.write(content("one"));
    const { location: _, ...checked } = await storage.check("one");
    assert.deepEqual(checked, { id, manifest, manifestSha256 });
  });

  promise("a checkpoint without its manifest does not exist", async ({ storage, removeFile }) => {
    await storage.write(content("one"));
    await removeFile("one", "manifest.json");
    await assertRefused(storage.load("one"), "missing", /no checkpoint "one"/);
    assert.deepEqual(await storage.list(), []);
  });

  promise("of what has no manifest the parts are found, and go with their id", async ({ storage, removeFile }) => {
    // Where each worker has a place of its own, it removes what it has left there itself.
    if (!storage.unfinished) return;
    await storage.write(content("one"));
    await storage.write(content("two"));
    assert.deepEqual(await storage.unfinished(), []);
    await removeFile("one", "manifest.json");
    assert.deepEqual(await storage.unfinished(), ["one"]);
    await storage.delete("one");
    assert.deepEqual(await storage.unfinished(), []);
    assertSameContent(await storage.load("two"), content("two"));
  });

  for (const name of fileNames.slice(0, 3)) {
    promise(`a checkpoint without its ${name} is missing a part, not corrupt`, async ({ storage, removeFile }) => {
      await storage.write(content("one"));
      await removeFile("one", name);
      await assertRefused(storage.load("one"), "missing", new RegExp(name.replace(".", "\\.")));
      await assertRefused(storage.check("one"), "missing", new RegExp(name.replace(".", "\\.")));
    });
  }

  promise(
    "a file that the manifest does not name does no harm, and is deleted too",
    async ({ storage, replaceFile }) => {
      await storage.write(content("one"));
      await replaceFile("one", "notes.txt", Buffer.from("mine"));
      assertSameContent(await storage.load("one"), content("one"));
      await storage.delete("one");
      assert.deepEqual(await storage.list(), []);
      await storage.write(content("one"));
    },
  );

  promise("a manifest that leads out of the checkpoint is refused", async ({ storage, readFile, replaceFile }) => {
    await storage.write(content("one"));
    await storage.write(content("two"));
    const { manifest } = (await storage.list())[0]!;
    for (const name of ["../two/weights.safetensors", "..", "/etc/hostname", "a/weights.safetensors"]) {
      const files = manifest.files.map((file, index) => (index === 0 ? { ...file, name } : file));
      await replaceFile("one", "manifest.json", Buffer.from(serializeManifest({ ...manifest, files })));
      await assertRefused(storage.load("one"), "corrupt", /"files" is/);
    }
    await replaceFile("one", "manifest.json", await readFile("two", "manifest.json"));
    await assertRefused(storage.load("one"), "corrupt", /of checkpoint "two"/);
  });

  promise("a manifest of other files than a checkpoint has is refused", async ({ storage, replaceFile }) => {
    const { manifest } = await storage.write(content("one"));
    const extra = { name: "extra.bin", sizeBytes: 1, sha256: "0".repeat(64) };
    for (const files of [
      [],
      manifest.files.slice(1),
      [...manifest.files, extra],
      [extra, ...manifest.files.slice(1)],
    ]) {
      await replaceFile("one", "manifest.json", Buffer.from(serializeManifest({ ...manifest, files })));
      await assertRefused(storage.load("one"), "corrupt", /names the files/);
    }
  });

  promise("a checkpoint of a newer format is incompatible, for load and list", async ({ storage, replaceFile }) => {
    const { manifest } = await storage.write(content("one"));
    // A version that the type does not have yet.
    const newer = { ...manifest, formatVersion: 2 } as unknown as Manifest;
    await replaceFile("one", "manifest.json", Buffer.from(serializeManifest(newer)));
    for (const act of [() => storage.load("one"), () => storage.list()]) {
      await assert.rejects(act, (error) => error instanceof LockstepError && error.code === "incompatible");
    }
  });

  promise("one corrupt manifest hides no other checkpoint, and is warned of once", async (subject) => {
    const { storage, warnings } = subject;
    await storage.write(content("one", { step: 1 }));
    await storage.write(content("two", { step: 2 }));
    await subject.replaceFile("two", "manifest.json", Buffer.from("{}"));
    assert.deepEqual(
      (await storage.list()).map(({ id }) => id),
      ["one"],
    );
    await storage.list();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /passed over: its manifest is corrupt/);
  });

  promise("files that fit their hashes and yet are no tensors or state are refused", async (subject) => {
    const { storage, replaceFile } = subject;
    let { manifest } = await storage.write(content("one"));
    const replaceWithHash = async (name: string, bytes: Uint8Array) => {
      const files = manifest.files.map((file) =>
        file.name === name ? { name, sizeBytes: bytes.length, sha256: sha256(bytes) } : file,
      );
      manifest = { ...manifest, files };
      await replaceFile("one", name, bytes);
      await replaceFile("one", "manifest.json", Buffer.from(serializeManifest(manifest)));
    };
    const header = Buffer.from(encodeHeader([{ name: "w", shape: [1] }]));
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 255), header, Buffer.concat([header, header])]) {
      await replaceWithHash("weights.safetensors", bytes);
      await assertRefused(storage.load("one"), "corrupt", /weights\.safetensors.*malformed/);
    }
    const halves = Buffer.from(header.toString("latin1").replace("F32", "I32"), "latin1");
    await replaceWithHash("weights.safetensors", Buffer.concat([halves, Buffer.alloc(4)]));
    await assert.rejects(
      storage.load("one"),
      (error) => error instanceof LockstepError && error.code === "incompatible",
    );

    await replaceWithHash("weights.safetensors", Buffer.concat([header, Buffer.alloc(4)]));
    assert.equal(
      (await storage.load("one")).weights.length,
      1,
      "the manifest that the others were refused with is good",
    );
    for (const bytes of [Buffer.alloc(0), Buffer.from("{"), Buffer.from([0xff])]) {
      await replaceWithHash("state.json", bytes);
      await assertRefused(storage.load("one"), "corrupt", /state\.json/);
    }
  });

  promise("a deleted checkpoint is gone, and deleting what is absent is no error", async ({ storage, removeFile }) => {
    await storage.write(content("one"));
    await storage.write(content("two"));
    await storage.delete("one");
    await storage.delete("one");
    await storage.delete("never");
    await assertRefused(storage.load("one"), "missing");
    assert.deepEqual(
      (await storage.list()).map(({ id }) => id),
      ["two"],
    );
    await removeFile("two", "manifest.json");
    await storage.delete("two");
    await assert.rejects(removeFile("two", "state.json"), "a half deleted one is deleted to the end");
  });

  promise("an id that is a path is refused by every call", async ({ storage }) => {
    await storage.write(content("one"));
    for (const id of ["", ".", "..", "../one", "a/../one", "/one", ".staging-one", "one\0"]) {
      await assert.rejects(storage.write(content(id)), LockstepError, id);
      await assert.rejects(storage.load(id), /plain name/, id);
      await assert.rejects(storage.delete(id), /plain name/, id);
    }
    assertSameContent(await storage.load("one"), content("one"));
  });

  promise("what could not be loaded again is not written", async ({ storage }) => {
    const good = content("one");
    const wrong: CheckpointContent[] = [
      ...[
        undefined,
        [undefined],
        new Array(1),
        { a: undefined },
        () => 1,
        1n,
        { at: new Date(0) },
        new Map(),
        { $number: "1" },
      ].map((state) => ({ ...good, state })),
      { ...good, weights: [{ name: "w", shape: [3], values: new Float32Array(2) }] },
      { ...good, weights: [bits("w", 1), bits("w", 2)] },
      { ...good, optimizer: [bits("__metadata__", 1)] },
      content("one", { step: -1 }),
      content("one", { fencingToken: Number.NaN }),
      content("one", { stateDigest: "" }),
    ];
    for (const one of wrong) {
      await assert.rejects(storage.write(one), (error) => error instanceof LockstepError && error.code === "internal");
    }
    assert.deepEqual(await storage.list(), []);
    await storage.write(good);
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
