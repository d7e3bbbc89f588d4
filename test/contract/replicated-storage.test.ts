/** Checkpoints on each worker's own disk: the promises of the port, and what is promised when workers and disks die. */
import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type FileSystem, nodeFileSystem } from "../../src/adapters/fs/file-system.ts";
import { openForReading } from "../../src/adapters/fs/open-for-reading.ts";
import { noteWorker } from "../../src/adapters/fs/store-id.ts";
import { type CheckpointsHandler, connectCheckpoints, serveCheckpoints } from "../../src/adapters/grpc/checkpoints.ts";
import { plainText } from "../../src/adapters/tls/security.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { disturbed, systemError } from "../fixtures/disturbed-file-system.ts";
import { openCluster, type ReplicatingWorker } from "../fixtures/replicating-workers.ts";
import { assertSameContent, checkpointStorageContract, content } from "./checkpoint-storage.contract.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const fileNames = ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"];

// What damages one copy damages all of them here: with one whole copy left there would be nothing to refuse.
checkpointStorageContract("replicated", async (context) => {
  // What is published is copied again beside other writes, also while it is being deleted: a holder deletes it once more.
  const cluster = await openCluster(context, 1, { completes: false });
  const writer = await cluster.start("w0");
  const keeper = await cluster.start("w1");
  const directories = [writer.directory, keeper.directory];
  const each = (act: (path: string) => Promise<void>) => async (id: string, name: string) => {
    const outcomes = await Promise.allSettled(directories.map((directory) => act(join(directory, id, name))));
    // One copy may have been taken already.
    if (outcomes.every(({ status }) => status === "rejected")) throw new Error(`no copy of ${id} has a ${name}`);
  };
  const storage: CheckpointStorage = {
    write: async (written) => {
      const { holders, ...stored } = await writer.storage.write(written);
      assert.deepEqual(holders, ["w0", "w1"]);
      cluster.publish({ ...stored, holders });
      return stored;
    },
    load: (id) => writer.storage.load(id),
    check: (id) => writer.storage.check(id),
    list: () => writer.storage.list(),
    // Each holder deletes its own.
    delete: async (id) => {
      await keeper.storage.delete(id);
      await writer.storage.delete(id);
    },
  };
  return {
    storage,
    warnings: writer.said,
    readFile: async (id, name) => new Uint8Array(await readFile(join(writer.directory, id, name))),
    replaceFile: (id, name, bytes) => each((path) => writeFile(path, bytes))(id, name),
    removeFile: each(unlink),
  };
});

async function flipBit(worker: ReplicatingWorker, id: string, name: string): Promise<void> {
  const path = join(worker.directory, id, name);
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(path, bytes);
}

const visible = async (worker: ReplicatingWorker) =>
  (await readdir(worker.directory)).filter((name) => name !== ".store").sort();

test("what is written lies whole with as many others as it should when it counts as written", async (context) => {
  const cluster = await openCluster(context, 2);
  const workers: ReplicatingWorker[] = [];
  for (const name of ["w0", "w1", "w2", "w3"]) workers.push(await cluster.start(name));
  const stored = await workers[0]!.storage.write(content("one"));
  assert.deepEqual(stored.holders, ["w0", "w1", "w2"]);
  for (const worker of workers.slice(0, 3)) {
    assertSameContent(await worker.local.load("one"), content("one"));
    for (const name of fileNames) {
      const own = await readFile(join(workers[0]!.directory, "one", name));
      assert.deepEqual(await readFile(join(worker.directory, "one", name)), own);
    }
  }
  assert.deepEqual(await visible(workers[3]!), []);
  assert.deepEqual(workers[0]!.said, []);
});

test("with fewer workers there are fewer copies, and that is said", async (context) => {
  const cluster = await openCluster(context, 2);
  const alone = await cluster.start("w0");
  assert.deepEqual((await alone.storage.write(content("one"))).holders, ["w0"]);
  await cluster.start("w1");
  assert.deepEqual((await alone.storage.write(content("two"))).holders, ["w0", "w1"]);
  assert.deepEqual(alone.said, Array(2).fill("a checkpoint has fewer copies than it should have"));
});

/** A file system at which something happens when a file of a checkpoint is made. */
function whenCreating(name: string, then: () => Promise<never>): FileSystem {
  return { ...nodeFileSystem, create: (path) => (path.endsWith(name) ? then() : nodeFileSystem.create(path)) };
}

test("for a keeper that dies while it receives, another one keeps a copy", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  let died = 0;
  const dying: ReplicatingWorker = await cluster.start("w1", {
    fileSystem: whenCreating("optimizer.safetensors", () => {
      died++;
      dying.die();
      return new Promise((_, reject) => context.after(() => reject(new Error("the test is over"))));
    }),
  });
  const spare = await cluster.start("w2");
  const stored = await writer.storage.write(content("one"));
  assert.equal(died, 1, "it died in the middle");
  assert.deepEqual(stored.holders, ["w0", "w2"]);
  assertSameContent(await spare.local.load("one"), content("one"));
  assert.deepEqual(await dying.local.list(), [], "half a checkpoint is none");
  assert.match(writer.said[0]!, /does not keep a copy/);
});

test("for a keeper whose disk is full, another one keeps a copy; nothing is left where it was full", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  const full = await cluster.start("w1", {
    fileSystem: whenCreating("state.json", () =>
      Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" })),
    ),
  });
  await cluster.start("w2");
  assert.deepEqual((await writer.storage.write(content("one"))).holders, ["w0", "w2"]);
  assert.deepEqual(await visible(full), []);
});

test("a keeper of another run, at an address that was another worker's, is passed over", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  const other = await cluster.start("w1", { run: "letters/7" });
  await cluster.start("w2");
  assert.deepEqual((await writer.storage.write(content("one"))).holders, ["w0", "w2"]);
  assert.deepEqual(await visible(other), []);
});

test("promise 4: whoever has been replaced as leader writes nothing, and nobody keeps anything for it", async (context) => {
  const cluster = await openCluster(context, 1);
  const former = await cluster.start("w0");
  const fenced = (error: unknown) =>
    error instanceof LockstepError && error.code === "fenced-off" && /later leader/.test(error.message);
  const keeper = await cluster.start("w1");
  const later = { era: 1, fencingToken: 30 };
  assert.ok(await keeper.storage.write(content("later", later)));
  await assert.rejects(former.storage.write(content("late", { era: 1, fencingToken: 17 })), fenced);
  former.die();
  // It comes back without having heard of anybody.
  const again = await cluster.start("w0", { directory: former.directory });
  await assert.rejects(again.storage.write(content("later-still", { era: 1, fencingToken: 29 })), fenced);
  assert.deepEqual(await visible(again), ["later"]);
  // Another era begins its tokens anew.
  assert.deepEqual((await again.storage.write(content("new-era", { era: 2, fencingToken: 5 }))).holders, ["w0", "w1"]);
});

test("with the next checkpoint those before it get the copies that they have lost with their holders", async (context) => {
  const cluster = await openCluster(context, 1);
  const [first, second] = [await cluster.start("w0"), await cluster.start("w1")];
  cluster.publish(await first.storage.write(content("one")));
  first.die();
  const third = await cluster.start("w2");
  // Led by one that has it, and by one that has not: either way two of those who are there have it afterwards.
  await second.storage.write(content("two", { step: 50, fencingToken: 18 }));
  await whenThere(third, "one");
  second.die();
  const fourth = await cluster.start("w3");
  await fourth.storage.write(content("three", { step: 60, fencingToken: 19 }));
  await whenThere(fourth, "one");
  assertSameContent(await fourth.local.load("one"), content("one"));
  // One that has lost its disk counts no more, whatever its name.
  third.die();
  const again = await cluster.start("w2", { directory: `${third.directory}-new` });
  await fourth.storage.write(content("four", { step: 70, fencingToken: 19 }));
  await whenThere(again, "one");
});

async function whenThere({ local }: ReplicatingWorker, id: string): Promise<void> {
  while (!(await local.list()).some((stored) => stored.id === id)) await new Promise(setImmediate);
}

test("a worker that has lost its disk fetches what it lacks, and has it from then on", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  await cluster.start("w1");
  cluster.publish(await writer.storage.write(content("one")));
  await rm(join(writer.directory, "one"), { recursive: true });
  assertSameContent(await writer.storage.load("one"), content("one"));
  assertSameContent(await writer.local.load("one"), content("one"));
  const stranger = await cluster.start("w2");
  assertSameContent(await stranger.storage.load("one"), content("one"));
});

for (const name of fileNames) {
  test(`a damaged ${name} is replaced by another worker's, loudly; another damaged copy is not taken`, async (context) => {
    const cluster = await openCluster(context, 2);
    const writer = await cluster.start("w0");
    const [damaged, whole] = [await cluster.start("w1"), await cluster.start("w2")];
    cluster.publish(await writer.storage.write(content("one")));
    await flipBit(writer, "one", name);
    await flipBit(damaged, "one", name);
    assertSameContent(await writer.storage.load("one"), content("one"));
    assertSameContent(await writer.local.load("one"), content("one"));
    assert.match(writer.said[0]!, /damaged/);
    assert.match(writer.said[1]!, /not got from another worker/);
    assert.deepEqual(await visible(writer), ["one"], "nothing else is left");
    assertSameContent(await whole.local.load("one"), content("one"));
  });
}

test("where every copy is damaged it is corrupt, and the copy here is left as it is", async (context) => {
  const cluster = await openCluster(context, 1);
  const [writer, keeper] = [await cluster.start("w0"), await cluster.start("w1")];
  cluster.publish(await writer.storage.write(content("one")));
  for (const worker of [writer, keeper]) await flipBit(worker, "one", "weights.safetensors");
  await assert.rejects(writer.storage.load("one"), { code: "corrupt-checkpoint" });
  assert.deepEqual(await visible(writer), ["one"]);
});

test("what is on no worker that is there is missing, with the names of those who have it; once one is back it is found", async (context) => {
  const cluster = await openCluster(context, 1);
  const [writer, keeper] = [await cluster.start("w0"), await cluster.start("w1")];
  cluster.publish(await writer.storage.write(content("one")));
  writer.die();
  keeper.die();
  const newcomer = await cluster.start("w2");
  await cluster.start("w3");
  for (const times of [1, 2]) {
    await assert.rejects(newcomer.storage.load("one"), (error) => {
      assert.ok(error instanceof CheckpointError);
      assert.equal(error.problem, "missing");
      assert.match(error.hint ?? "", /w0, w1/);
      return true;
    });
    assert.equal(newcomer.said.length, 1, `said once, asked ${times} times`);
  }
  await cluster.start("w1", { directory: keeper.directory });
  assertSameContent(await newcomer.storage.load("one"), content("one"));
});

test("a damaged copy is not corrupt while a worker is away that may have a whole one", async (context) => {
  const cluster = await openCluster(context, 1);
  const [writer, keeper] = [await cluster.start("w0"), await cluster.start("w1")];
  cluster.publish(await writer.storage.write(content("one")));
  keeper.die();
  await flipBit(writer, "one", "state.json");
  await assert.rejects(writer.storage.load("one"), { problem: "missing" });
  await cluster.start("w1", { directory: keeper.directory });
  assertSameContent(await writer.storage.load("one"), content("one"));
});

test("whoever does not want a checkpoint any more stops fetching it", async (context) => {
  const cluster = await openCluster(context, 1);
  const over = new AbortController();
  const writer = await cluster.start("w0");
  cluster.publish(await writer.storage.write(content("one")));
  const newcomer = await cluster.start("w1", {
    fileSystem: whenCreating("optimizer.safetensors", async () => {
      over.abort(new Error("over"));
      throw new Error("too late");
    }),
  });
  await assert.rejects(newcomer.storage.load("one", over.signal), /over/);
  assert.deepEqual(await visible(newcomer), []);
});

test("a worker killed before any call of its disk has a whole copy or none, and never takes half of one for it", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  cluster.publish(await writer.storage.write(content("one")));
  const outcomes: string[] = [];
  for (let isFinished = false; !isFinished; ) {
    let callsLeft = outcomes.length;
    let isOn = false;
    const keeper = await cluster.start(`k${outcomes.length}`, {
      fileSystem: disturbed(nodeFileSystem, {
        before: () => {
          // From here on the process does nothing any more; its clean-up does not happen either.
          if (isOn && --callsLeft < 0) throw new Error("killed");
        },
      }),
    });
    // A damaged copy lies there already, which a whole one replaces.
    await cp(join(writer.directory, "one"), join(keeper.directory, "one"), { recursive: true });
    await flipBit(keeper, "one", "weights.safetensors");
    isOn = true;
    isFinished = await keeper.storage.load("one").then(
      () => true,
      () => false,
    );
    keeper.die();
    const again = await cluster.start(keeper.name, { directory: keeper.directory });
    const own = await again.local.load("one").then(
      () => "whole",
      (error: unknown) => (error instanceof CheckpointError ? error.problem : String(error)),
    );
    outcomes.push(own);
    assertSameContent(await again.storage.load("one"), content("one"));
    again.die();
  }
  assert.ok(outcomes.length > 40, `${outcomes.length} calls`);
  assert.deepEqual([...new Set(outcomes)], ["corrupt", "missing", "whole"], "one after the other");
});

test("a disk that turns bits over is not taken for a corrupt checkpoint", async (context) => {
  const cluster = await openCluster(context, 1);
  const writer = await cluster.start("w0");
  cluster.publish(await writer.storage.write(content("one")));
  for (const operation of ["write", "read"] as const) {
    let isOn = true;
    const worker = await cluster.start(`bad-${operation}`, {
      fileSystem: disturbed(nodeFileSystem, {
        alter: (call, buffers) => {
          if (!isOn || call.operation !== operation || !call.path.endsWith("weights.safetensors")) return buffers;
          if (operation === "read") throw systemError("EIO", "simulated");
          const [first, ...rest] = buffers.map((buffer) => Uint8Array.from(buffer));
          first![first!.length >> 1]! ^= 4;
          return [first!, ...rest];
        },
      }),
    });
    const expected = operation === "write" ? /read back as something else/ : /EIO/;
    await assert.rejects(worker.storage.load("one"), (error) => {
      assert.ok(error instanceof CheckpointError);
      assert.match(error.problem, /^un(writ|read)able$/);
      assert.match(error.message, expected);
      return true;
    });
    assert.deepEqual(await visible(worker), [], "nothing is left of it");
    isOn = false;
    assertSameContent(await worker.storage.load("one"), content("one"));
    worker.die();
  }
});

test("staging folders of a worker that died are removed when it comes back", async (context) => {
  const cluster = await openCluster(context, 0);
  const staged = new Promise<ReplicatingWorker>((resolve) => {
    const dying = cluster.start("w0", {
      fileSystem: whenCreating("state.json", async () => {
        resolve(await dying);
        return new Promise(() => {});
      }),
    });
    void dying.then((worker) => worker.storage.write(content("one")));
  });
  const worker = await staged;
  assert.match((await visible(worker))[0]!, /^\.staging-one-/);
  await worker.files.removeStagings();
  assert.deepEqual(await visible(worker), []);
});

test("whoever only looks finds a checkpoint in any worker's folder, the lost and the damaged ones aside", async (context) => {
  const cluster = await openCluster(context, 2);
  const workers = [await cluster.start("w0"), await cluster.start("w1"), await cluster.start("w2")] as const;
  await workers[0].storage.write(content("one"));
  await workers[1].local.write(content("two", { step: 50 }));
  const around = dirname(workers[0].directory);
  await noteWorker(workers[2].directory, "bob");
  await noteWorker(workers[2].directory, "ada");
  for (const place of [around, workers[0].directory]) {
    const storage = await openForReading(place, quiet);
    assert.deepEqual(
      (await storage.list()).map(({ id }) => id),
      ["one", "two"],
    );
    assertSameContent(await storage.load("two"), content("two", { step: 50 }));
    assert.deepEqual(
      (await storage.list()).map(({ holders }) => holders),
      [["w0", "w1", "ada"], ["w1"]],
      "whose folder it is, and not what the folder is called",
    );
    await assert.rejects(storage.load("three"), /There is no checkpoint "three"/);
  }
  await rm(workers[0].directory, { recursive: true });
  await flipBit(workers[1], "one", "state.json");
  assertSameContent(await (await openForReading(workers[0].directory, quiet)).load("one"), content("one"));
  const copies = await (await openForReading(around, quiet)).copies!("one", null);
  assert.deepEqual(
    copies.map(({ location, wrong }) => [location, wrong?.code ?? "whole"]),
    [
      [join(workers[1].directory, "one"), "corrupt-checkpoint"],
      [join(workers[2].directory, "one"), "whole"],
    ],
  );
  await flipBit(workers[2], "one", "state.json");
  await assert.rejects((await openForReading(around, quiet)).load("one"), { code: "corrupt-checkpoint" });
  assert.deepEqual((await readdir(around)).sort(), ["w1", "w2"], "the lost one is not made anew");
});

test("a copy with another manifest under the same id is no whole copy", async (context) => {
  const cluster = await openCluster(context, 0);
  const workers = [await cluster.start("w0"), await cluster.start("w1")] as const;
  const { manifestSha256 } = await workers[0].local.write(content("one"));
  const other = await workers[1].local.write(content("one", { step: 50 }));
  assert.notEqual(other.manifestSha256, manifestSha256);
  const storage = await openForReading(dirname(workers[0].directory), quiet);
  const wrongOf = async (sha256: string | null) => (await storage.copies!("one", sha256)).map(({ wrong }) => wrong);
  const [whole, another] = await wrongOf(manifestSha256);
  assert.equal(whole, null);
  assert.match(
    `${another?.problem}: ${another?.message}`,
    /^corrupt: .*w1\/one\/manifest\.json is not what was written/,
  );
  assert.deepEqual(
    (await wrongOf(other.manifestSha256)).map((wrong) => wrong?.problem),
    ["corrupt", undefined],
  );
  assert.deepEqual(await wrongOf(null), [null, null], "where nobody knows which one is meant");
});

test("a file is read from the disk as fast as it is taken, and no faster", async (context) => {
  const partCount = 300;
  let given = 0;
  const handler: CheckpointsHandler = {
    keep: () => Promise.resolve(),
    async *fetch() {
      for (; given < partCount; given++) yield new Uint8Array(1024 * 1024);
    },
  };
  const server = await serveCheckpoints("127.0.0.1:0", 5000, handler, plainText());
  context.after(() => server.close());
  const connection = connectCheckpoints(server.address, 5000, 5000, null);
  let taken = 0;
  let most = 0;
  for await (const part of connection.fetch({ run: "digits/1", id: "one", file: "weights.safetensors" })) {
    assert.equal(part.length, 1024 * 1024);
    taken++;
    most = Math.max(most, given - taken);
    // Whoever takes them has other things to do in between.
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  }
  connection.close();
  assert.equal(taken, partCount);
  assert.ok(most > 0 && most < 100, `${most} parts were under way`);
});
