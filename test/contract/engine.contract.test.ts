/** Promises of the engine port, kept by every engine: each is opened by a process of its own, which reports. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { type EngineChoice, prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";
import type { EngineKind } from "../../src/ports/engine.ts";
import type { EngineReport } from "../fixtures/engine-program.ts";
import { plainEnvironment, runFixture } from "../fixtures/machine.ts";

const kinds: readonly EngineKind[] = ["native", "wasm", "cpu"];

/** Null where there is no native engine, which only a machine outside CI may lack. */
async function choose(kind: EngineKind): Promise<EngineChoice | null> {
  try {
    return await prepareEngine({ engine: kind, device: "cpu" }, () => {});
  } catch (error) {
    if (kind !== "native" || process.env.CI === "true") throw error;
    return null;
  }
}

async function report(choice: EngineChoice, workers: number) {
  const { stdout, stderr } = await runFixture(
    "engine-program.ts",
    [JSON.stringify(choice), "1", String(workers), "16"],
    plainEnvironment(),
  );
  // What the program prints, which is what the test below checks.
  return { stdout, stderr, report: JSON.parse(stdout.split("\n").at(-2) ?? "") as EngineReport };
}

for (const kind of kinds) {
  const choice = await choose(kind);
  const skip = choice === null ? "this machine has no native engine" : false;
  describe(`engine "${kind}"`, { skip }, () => {
    let first: Awaited<ReturnType<typeof report>>;
    let second: Awaited<ReturnType<typeof report>>;
    before(async () => {
      if (choice === null) return;
      first = await report(choice, 2);
      second = await report(choice, 0);
    });

    test("says truly what computes", () => {
      const { description, backend } = first.report;
      assert.equal(description.kind, kind);
      assert.equal(description.library, choice?.library);
      assert.match(
        description.library,
        kind === "native" ? /^TensorFlow \d+\.\d+\.\d+$/ : /^TensorFlow\.js 4\.22\.0 \(/,
      );
      assert.equal(backend, kind === "native" ? "tensorflow" : kind);
      const { device, gpu, threads, step, architecture } = description;
      assert.deepEqual(
        { device, gpu, threads, step, architecture },
        {
          device: "cpu",
          gpu: null,
          threads: 1,
          step: kind === "native" ? "recorded" : "op-by-op",
          architecture: process.arch,
        },
      );
    });

    test("multiplies matrices", () => {
      assert.deepEqual(first.report.product, [58, 64, 139, 154]);
    });

    test("takes the gradient of a dense model", () => {
      assert.deepEqual(first.report.denseGradient, { kernel: [4, 4.75], bias: [0.75] });
    });

    test("a step leaves its inputs to the caller and nothing but its outputs, each a tensor of its own", () => {
      assert.deepEqual(first.report.step, {
        outputs: [
          [5, 7, 9],
          [4, 5, 6],
          [5, 7, 9],
        ],
        inputsAfter: [
          [1, 2, 3],
          [4, 5, 6],
        ],
        leftBehind: 0,
      });
    });

    test("prints nothing", () => {
      assert.equal(first.stderr, "");
      assert.equal(first.stdout.trimEnd().split("\n").length, 1);
    });

    test("two threads, one after the other, and then the main thread compute the same bits", () => {
      const { dense } = first.report.digests;
      assert.deepEqual(first.report.threadDigests, [dense, dense]);
    });

    test("a process goes on when the last thread that used the engine has ended", async () => {
      const programArguments = [JSON.stringify(choice), "threads-only"];
      const { stdout, stderr } = await runFixture("engine-program.ts", programArguments, plainEnvironment());
      const { dense } = first.report.digests;
      assert.deepEqual([JSON.parse(stdout), stderr], [["", dense], ""]);
    });

    test("two processes compute the same bits", () => {
      assert.deepEqual(second.report.digests, first.report.digests);
    });

    test("names the kernel that it lacks for a model, and passes other errors on", () => {
      assert.equal(first.report.missingForConvolution, kind === "wasm" ? "Conv2DBackpropFilter" : null);
      assert.equal(first.report.otherProbeError, "Error: the model is wrong");
    });
  });
}
