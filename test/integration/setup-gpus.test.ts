import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { assignGpus, type Gpu, listGpus } from "../../src/adapters/system/gpus.ts";
import { emptyMachine, type Machine } from "../fixtures/machine.ts";

const answer = `0, GPU-aa11, NVIDIA H100 80GB HBM3, 81559, 550.54.15
1, GPU-bb22, NVIDIA H100 80GB HBM3, 81559, 550.54.15
2, GPU-cc33, NVIDIA GB10, [N/A], 550.54.15`;

/** Lets this process see a stand-in `nvidia-smi` and nothing else. */
async function standIn(context: TestContext, script: string, visible?: string): Promise<Machine> {
  const machine = await emptyMachine(context);
  await machine.addScript("nvidia-smi", script);
  const { PATH, CUDA_VISIBLE_DEVICES } = process.env;
  process.env.PATH = machine.environment.PATH;
  if (visible === undefined) delete process.env.CUDA_VISIBLE_DEVICES;
  else process.env.CUDA_VISIBLE_DEVICES = visible;
  context.after(() => {
    process.env.PATH = PATH;
    if (CUDA_VISIBLE_DEVICES === undefined) delete process.env.CUDA_VISIBLE_DEVICES;
    else process.env.CUDA_VISIBLE_DEVICES = CUDA_VISIBLE_DEVICES;
  });
  return machine;
}

const say = (text: string) => `while read -r line; do echo "$line"; done <<'END'\n${text}\nEND`;
const indices = (gpus: readonly Gpu[]) => gpus.map(({ index }) => index);

test("nvidia-smi's GPUs are listed with model, memory and driver", async (context) => {
  await standIn(context, say(answer));
  const gpus = await listGpus();
  assert.deepEqual(indices(gpus), [0, 1, 2]);
  assert.deepEqual(gpus[1], {
    index: 1,
    uuid: "GPU-bb22",
    model: "NVIDIA H100 80GB HBM3",
    memoryBytes: 81_559 * 2 ** 20,
    driverVersion: "550.54.15",
  });
  assert.equal(gpus[2]?.memoryBytes, 0);
});

test("without nvidia-smi, or with one that fails or talks of no GPU, there is none", async (context) => {
  const machine = await standIn(context, "echo 'NVIDIA-SMI has failed' >&2; exit 9");
  assert.deepEqual(await listGpus(), []);
  await machine.addScript("nvidia-smi", "echo 'No devices were found'");
  assert.deepEqual(await listGpus(), []);
  process.env.PATH = machine.directory;
  assert.deepEqual(await listGpus(), []);
});

for (const [visible, expected] of [
  ["2,0", [2, 0]],
  ["GPU-bb", [1]],
  ["", []],
  ["-1", []],
  ["1,7,0", [1]],
] as const) {
  test(`CUDA_VISIBLE_DEVICES="${visible}" leaves the GPUs [${expected}] to this process, as CUDA would`, async (context) => {
    await standIn(context, say(answer), visible);
    assert.deepEqual(indices(await listGpus()), expected);
  });
}

test("worker i gets GPU i", async (context) => {
  await standIn(context, say(answer), "2,0");
  assert.deepEqual(assignGpus(await listGpus(), 2, false), [2, 0]);
});

test("more workers than GPUs is an error without sharing, and they take turns with it", async (context) => {
  await standIn(context, say(answer), "0,1");
  const gpus = await listGpus();
  assert.throws(() => assignGpus(gpus, 3, false), {
    code: "engine-unavailable",
    message: "3 workers need 3 GPUs; this machine has 2 GPUs.",
  });
  assert.deepEqual(assignGpus(gpus, 5, true), [0, 1, 0, 1, 0]);
});

test("without GPUs every worker gets none", () => {
  assert.deepEqual(assignGpus([], 2, false), [null, null]);
});
