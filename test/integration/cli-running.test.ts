import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { digitsJob, useUser } from "../fixtures/cli.ts";

const limit = { timeout: 240_000 };
const theUser = useUser();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test(
  "while a job trains, status tells of its processes and a second launch is refused; Ctrl-C ends all",
  limit,
  async () => {
    const user = theUser();
    // It ends when it is told to: nothing here has to be quicker than the training.
    const args = ["launch", digitsJob, "--json", "--directory", user.at("run"), "--workers", "3", "--epochs", "100000"];
    const first = user.start(...args);
    await first.whenLine("its first epoch", ({ event }) => event === "epoch");
    assertWhole(await statusOfThree(), first.pid, await user.processes());

    const second = await user.run(...args);
    assert.deepEqual([second.code, second.stdout], [exitCodes["job-running"], ""], second.stderr);
    assert.ok(second.stderr.includes('"digits"') && second.stderr.includes(String(first.pid)), second.stderr);

    first.kill("SIGINT");
    const { code, stdout, stderr } = await first.exited;
    assert.equal(code, exitCodes.interrupted, stderr);
    assert.match(stderr, /Stopped: step \d+ is saved/);
    assert.doesNotMatch(stdout, /"event":"finished"/);
    // Every port that was open belonged to one of these processes.
    assert.deepEqual(await user.processes(), []);
    assert.deepEqual(await user.leftovers(), []);
  },
);

/** The status by its JSON, as soon as three workers have ranks: a machine under load may have to form anew. */
async function statusOfThree(): Promise<ClusterStatus> {
  for (;;) {
    const { code, stdout, stderr } = await theUser().run("status", "--json");
    assert.equal(code, 0, stderr);
    const status = JSON.parse(stdout) as ClusterStatus;
    if (status.processes.filter(({ rank }) => rank !== null).length === 3) return status;
  }
}

function assertWhole(status: ClusterStatus, launchPid: number, alive: readonly string[]): void {
  assert.deepEqual([status.job, status.state], ["digits", "training"]);
  for (const field of ["generation", "epoch", "step"] as const) assert.ok(status[field] >= 1, field);
  const { processes } = status;
  assert.deepEqual(processes.map(({ role }) => role).sort(), [
    "coordinator",
    "etcd",
    "launch",
    "worker",
    "worker",
    "worker",
  ]);
  assert.equal(processes.find(({ role }) => role === "launch")?.pid, launchPid);
  for (const entry of processes) {
    const fields = ["role", "workerId", "rank", "pid", "address", "epoch", "step", "lease"];
    assert.deepEqual(
      fields.filter((field) => !(field in entry)),
      [],
    );
    assert.ok(
      alive.some((line) => line.startsWith(`${entry.pid} `)),
      `${entry.role} lives`,
    );
  }
  const workers = processes.filter(({ role }) => role === "worker");
  assert.deepEqual(workers.map(({ rank }) => rank).sort(), [0, 1, 2]);
  assert.deepEqual(new Set(workers.map(({ lease }) => lease)), new Set(["held"]));
  assert.equal(workers.filter(({ leader }) => leader).length, 1);
  assert.equal(new Set(workers.map(({ workerId }) => workerId)).size, 3);
}

test(
  "what an interrupted run leaves are whole checkpoints, whose digests are those of their bytes",
  limit,
  async () => {
    const folder = theUser().at("run", "run-1", "checkpoints");
    const ids = await readdir(folder);
    assert.ok(ids.length > 0, "there are checkpoints");
    for (const id of ids) {
      const read = (name: string) => readFile(path.join(folder, id, name));
      const manifest = JSON.parse((await read("manifest.json")).toString());
      const listed: { name: string; sizeBytes: number; sha256: string }[] = manifest.files;
      assert.deepEqual(
        (await readdir(path.join(folder, id))).sort(),
        [...listed.map(({ name }) => name), "manifest.json"].sort(),
      );
      for (const file of listed) {
        const bytes = await read(file.name);
        assert.deepEqual([bytes.byteLength, sha256(bytes)], [file.sizeBytes, file.sha256], `${id}/${file.name}`);
      }
      assert.equal(manifest.weightsDigest, `sha256:${sha256(weightsInOrder(await read("weights.safetensors")))}`);
    }
  },
);

/** The little-endian bytes of a file's tensors, in the order of a model of dense layers: kernel, bias, kernel, bias, … */
function weightsInOrder(file: Buffer): Buffer {
  const begin = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, begin)) as Record<string, { data_offsets?: [number, number] }>;
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  const layers = [...new Set(names.map((name) => name.split("/")[0]!))].sort();
  const ordered = layers.flatMap((layer) => [`${layer}/kernel`, `${layer}/bias`]);
  assert.deepEqual([...names].sort(), [...ordered].sort());
  const offsets = ordered.map((name) => header[name]!.data_offsets!);
  return Buffer.concat(offsets.map(([from, to]) => file.subarray(begin + from, begin + to)));
}
