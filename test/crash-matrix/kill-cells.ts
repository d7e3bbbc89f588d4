/** SIGKILL of a real process with real files and a real etcd, at every point and in the middle of every write. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { nodeFileSystem } from "../../src/adapters/fs/file-system.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { LeaderRecord } from "../../src/core/records.ts";
import { decodeJson } from "../../src/core/json.ts";
import { startTestEtcd, type TestEtcd } from "../fixtures/etcd.ts";
import { checkGoesOn, checkWhole, pointersOf } from "./checks.ts";
import type { KillOrder } from "./killed-writer.ts";
import type { Cell } from "./matrix.ts";
import type { Point } from "./process.ts";
import { Scene } from "./scene.ts";
import { disturbedEpoch, losses, publishUpTo } from "./stage.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What all killed processes share; started with the first cell, and to be closed after the last. */
export class Morgue {
  #etcd: Promise<TestEtcd> | null = null;
  #folder: Promise<string> | null = null;
  #runs = 0;

  /** `all`: the points of a whole publication, in order, of which `points` are those to kill at. */
  cells(points: readonly Point[], all: readonly Point[]): readonly Cell[] {
    return points.flatMap((point): Cell[] => {
      const cell = (halfway: boolean): Cell => {
        const where = halfway ? `${point.name}, halfway` : point.name;
        return { fault: "sigkill", where, run: () => this.#kill(point, halfway, all) };
      };
      return point.operation === "write" ? [cell(false), cell(true)] : [cell(false)];
    });
  }

  async close(): Promise<void> {
    const [etcd, folder] = [await this.#etcd, await this.#folder];
    await etcd?.stop();
    if (folder) await rm(folder, { recursive: true });
  }

  async #kill(point: Point, halfway: boolean, all: readonly Point[]): Promise<number> {
    this.#etcd ??= startTestEtcd();
    this.#folder ??= buildWriter();
    const [etcd, folder] = [await this.#etcd, await this.#folder];
    this.#runs += 1;
    const run = this.#runs;
    const directory = join(folder, `run-${run}`);
    const clients: { close(): Promise<void> }[] = [];
    const connect: Scene["place"]["connect"] = () => {
      const client = etcd.connect();
      clients.push(client);
      return client;
    };
    const scene = new Scene({ directory, disk: nodeFileSystem, clock: systemClock, run, losses, connect });
    try {
      await scene.form("killed", "other");
      const before = await scene.leader(scene.enter("killed"));
      await before.stand();
      await publishUpTo(scene, before, disturbedEpoch - 1);
      await before.leave();
      await scene.arrive(disturbedEpoch);

      const { endpoint } = etcd;
      const order = { endpoint, directory, run, losses, epoch: disturbedEpoch, point: point.name, halfway };
      const { signal, output } = await runWriter(join(folder, "killed-writer.mjs"), order);
      assert.equal(signal, "SIGKILL", `it was not killed: ${output}`);

      // Its process is known to be gone, so nobody waits for its lease.
      const entry = await scene.observer.get(scene.keys.leader);
      assert.equal(entry && decodeJson<LeaderRecord>(entry.value).workerId, "killed", "it died as the leader");
      await scene.observer.revokeLease(entry!.leaseId!);
      const published = all.findIndex(({ name }) => name === "transact publish");
      const isPublished = all.findIndex(({ name }) => name === point.name) > published;
      const { latest } = await pointersOf(scene);
      assert.equal(latest?.epoch, isPublished ? disturbedEpoch : disturbedEpoch - 1);
      await checkWhole(scene, nodeFileSystem);
      await checkGoesOn(scene, nodeFileSystem, disturbedEpoch + 1);
      return 1;
    } finally {
      await Promise.all(clients.map((client) => client.close()));
      await rm(directory, { recursive: true, force: true });
    }
  }
}

/** As JavaScript, so that each process starts at once. */
async function buildWriter(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-killed-"));
  for (const name of ["node_modules", "package.json"]) await symlink(join(root, name), join(folder, name));
  await build({
    absWorkingDir: root,
    entryPoints: ["test/crash-matrix/killed-writer.ts"],
    outfile: join(folder, "killed-writer.mjs"),
    ...{ bundle: true, packages: "external", format: "esm", platform: "node", target: "node20.11", logLevel: "silent" },
  });
  return folder;
}

function runWriter(program: string, order: KillOrder): Promise<{ signal: string | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, JSON.stringify(order)], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ signal, output: `code ${code}, ${output}` }));
  });
}
