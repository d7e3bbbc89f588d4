import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { dirname } from "node:path";
import { test } from "node:test";
import { cacheDirectory } from "../../src/adapters/system/cache.ts";
import type { Finding } from "../../src/adapters/system/doctor.ts";
import { prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";
import { emptyMachine, type Machine, runFixture } from "../fixtures/machine.ts";
import type { PrepareReport } from "../fixtures/prepare-program.ts";

async function diagnose(
  machine: Machine,
  changes: Record<string, string> = {},
): Promise<(what: string) => Finding | undefined> {
  const { stdout, stderr } = await runFixture("prepare-program.ts", ["doctor"], { ...machine.environment, ...changes });
  assert.equal(stderr, "");
  // What the program prints.
  const { result } = JSON.parse(stdout) as PrepareReport<Finding[]>;
  return (what) => result?.find((finding) => finding.what === what);
}

test("on a bare machine the doctor says what is missing and what to do, and changes nothing", async (context) => {
  const machine = await emptyMachine(context);
  const finding = await diagnose(machine);
  assert.match(finding("Node")?.value ?? "", new RegExp(`^${process.version} `));
  assert.equal(finding("engine")?.ok, "warning");
  assert.match(finding("engine")?.advice ?? "", /^Install python3 and pip and g\+\+, then run `lockstep setup`/);
  assert.deepEqual(finding("devices"), { what: "devices", ok: true, value: "CPU, no GPU", advice: null });
  assert.match(finding("threads")?.value ?? "", /^\d+ cores?;/);
  assert.equal(finding("set-up tools")?.value, "no python3; no pip; no g++");
  assert.equal(finding("etcd")?.ok, "warning");
  assert.equal(finding("cache")?.ok, true);
  await assert.rejects(access(machine.cacheHome));
});

test("what makes training impossible is a failure with advice", async (context) => {
  const machine = await emptyMachine(context);
  const finding = await diagnose(machine, { ETCD_BIN: "/nowhere/etcd", XDG_CACHE_HOME: "/dev/null" });
  assert.equal(finding("etcd")?.ok, false);
  assert.match(finding("etcd")?.value ?? "", /ETCD_BIN names \/nowhere\/etcd/);
  assert.equal(finding("cache")?.ok, false);
  assert.match(finding("cache")?.advice ?? "", /XDG_CACHE_HOME/);
});

test("a GPU is listed, and an engine that cannot use it yet is a warning", async (context) => {
  const machine = await emptyMachine(context);
  await machine.addScript("nvidia-smi", "echo '0, GPU-aa11, NVIDIA H100, 81559, 550.54.15'");
  const finding = await diagnose(machine);
  assert.equal(finding("devices")?.value, "GPU 0: NVIDIA H100, 80 GiB; driver 550.54.15");
  assert.equal(finding("engine")?.ok, "warning");
});

test("the native engine is loaded to learn its version", async (context) => {
  const choice = await prepareEngine({ engine: "native", device: "cpu" }, () => {}).catch((error: unknown) => {
    if (process.env.CI === "true") throw error;
    return null;
  });
  if (choice === null) return context.skip("this machine has no native engine");
  const machine = await emptyMachine(context);
  const finding = await diagnose(machine, { XDG_CACHE_HOME: dirname(cacheDirectory()) });
  assert.deepEqual(finding("engine"), {
    what: "engine",
    ok: true,
    value: `native, ${choice.library}, on the CPU`,
    advice: null,
  });
});
