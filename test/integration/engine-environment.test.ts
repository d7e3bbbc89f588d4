import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { engineEnvironment } from "../../src/adapters/tfjs/engine-environment.ts";
import { preloadLibraries } from "../../src/adapters/tfjs/native-addon.ts";
import { openEngine } from "../../src/adapters/tfjs/open-engine.ts";
import { type EngineChoice, prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { testEngine } from "../fixtures/engine.ts";
import type { EngineReport } from "../fixtures/engine-program.ts";
import { plainEnvironment, runFixture } from "../fixtures/machine.ts";
import { exampleJob } from "../fixtures/running-launch.ts";

const native: EngineChoice = {
  kind: "native",
  device: "cpu",
  library: "TensorFlow 2.21.0",
  bindingPath: "/nowhere/tfjs_binding.node",
  libraryPaths: [],
  gpus: [],
  notice: null,
};
const gpu = { index: 3, uuid: "GPU-3", model: "NVIDIA H100", memoryBytes: 80 * 2 ** 30, driverVersion: "550.1" };

function withEnvironment<T>(changes: Record<string, string>, run: () => T): T {
  const before = { ...process.env };
  Object.assign(process.env, changes);
  try {
    return run();
  } finally {
    for (const name of Object.keys(changes)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}

test("settings that decide the bits do not depend on what the user has set", () => {
  const settings = {
    TF_ENABLE_ONEDNN_OPTS: "0",
    TF_NUM_INTRAOP_THREADS: "7",
    OMP_NUM_THREADS: "7",
    ONEDNN_MAX_CPU_ISA: "AVX2",
  };
  const options = { threads: 2, gpuIndex: null };
  const plain = engineEnvironment(native, options);
  assert.deepEqual(
    withEnvironment(settings, () => engineEnvironment(native, options)),
    plain,
  );
  assert.equal(plain.TF_NUM_INTRAOP_THREADS, "2");
});

test("the user's own log level and memory growth are kept", () => {
  const settings = { TF_CPP_MIN_LOG_LEVEL: "0", TF_FORCE_GPU_ALLOW_GROWTH: "false" };
  const environment = withEnvironment(settings, () => engineEnvironment(native, { threads: 1, gpuIndex: null }));
  assert.equal(environment.TF_CPP_MIN_LOG_LEVEL, "0");
  assert.equal(environment.TF_FORCE_GPU_ALLOW_GROWTH, "false");
});

test("a worker sees its own GPU and no other, with memory growth and determinism; on the CPU it sees none", () => {
  const choice: EngineChoice = { ...native, device: "gpu", gpus: [gpu] };
  const environment = engineEnvironment(choice, { threads: 1, gpuIndex: 3 });
  assert.equal(environment.CUDA_VISIBLE_DEVICES, "3");
  assert.equal(environment.CUDA_DEVICE_ORDER, "PCI_BUS_ID");
  assert.equal(environment.TF_FORCE_GPU_ALLOW_GROWTH, "true");
  assert.equal(environment.TF_DETERMINISTIC_OPS, "1");
  assert.equal(engineEnvironment(native, { threads: 1, gpuIndex: null }).CUDA_VISIBLE_DEVICES, "");
});

test("an engine without native code needs nothing in the environment", () => {
  assert.deepEqual(engineEnvironment({ ...native, kind: "wasm" }, { threads: 4, gpuIndex: null }), {});
});

test("the native engine does not open before its environment was applied", async () => {
  await assert.rejects(openEngine(native, { threads: 1 }), (error) => {
    assert.ok(error instanceof LockstepError);
    assert.equal(error.code, "internal");
    assert.match(error.message, /engineEnvironment was not applied/);
    return true;
  });
});

test("a native library that does not load is an error that names it", async () => {
  await withEnvironment(engineEnvironment(native, { threads: 1, gpuIndex: null }), async () => {
    // The environment is read before the first await, and restored after it.
    await assert.rejects(openEngine(native, { threads: 1 }), {
      code: "engine-unavailable",
      message: /\/nowhere\/tfjs_binding\.node/,
    });
  });
});

test("libraries that are loaded ahead of the engine are told from those that cannot be", () => {
  assert.equal(preloadLibraries({ libraryPaths: [], bindingPath: null }), null);
  assert.match(
    String(preloadLibraries({ libraryPaths: ["/nowhere/libtensorflow.so.2"], bindingPath: null })),
    /nowhere\/libtensorflow/,
  );
});

test("the thread count decides the bits, which is why it belongs to the fingerprint", async (context) => {
  const choice = await prepareEngine({ engine: "native", device: "cpu" }, () => {}).catch((error: unknown) => {
    if (process.env.CI === "true") throw error;
    return null;
  });
  if (choice === null) return context.skip("this machine has no native engine");
  const digests = [];
  for (const threads of [1, 2, 2]) {
    const { stdout } = await runFixture(
      "engine-program.ts",
      [JSON.stringify(choice), String(threads), "0", "256"],
      plainEnvironment(),
    );
    // What the program prints.
    digests.push((JSON.parse(stdout) as EngineReport).digests);
  }
  const [one, two, twoAgain] = digests;
  assert.deepEqual(two, twoAgain);
  assert.notEqual(one?.convolution, two?.convolution);
});

test("what TensorFlow says while it is loaded is not heard", async (context) => {
  const { description } = await testEngine();
  if (description.kind !== "native") return context.skip("this machine has no native engine");
  const program = fileURLToPath(new URL("../../bin/lockstep.mjs", import.meta.url));
  const { stderr } = await promisify(execFile)(program, ["check", exampleJob]);
  assert.doesNotMatch(stderr, /oneDNN|absl/);
});
