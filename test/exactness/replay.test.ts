import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { Manifest } from "../../src/core/manifest.ts";
import { type Recorded, recordedAfter } from "../../src/core/recorded-digests.ts";
import { PreparedData } from "../../src/runtime/prepared-data.ts";
import { replay } from "../../src/runtime/replay.ts";
import { weightsDigestOf } from "../../src/runtime/state.ts";
import { TrainingProgram } from "../../src/runtime/training-program.ts";
import { testEngine } from "../fixtures/engine.ts";
import { points, pointsJob, type Trained, train } from "../fixtures/trainers.ts";

const limit = { timeout: 120_000 };
const shards = 3;
const data = points(150); // 120 train, in 6 steps an epoch
const job = pointsJob();

async function replayer() {
  const prepared = new PreparedData(data, job);
  const program = new TrainingProgram(await testEngine(), job, prepared.shapes);
  const recordOf = ({ snapshot, progress, digest }: Trained): Recorded => ({
    step: progress.step,
    weightsDigest: weightsDigestOf(snapshot, program),
    state: { digest, epoch: progress.epoch, stepInEpoch: progress.stepInEpoch },
    by: "a test",
  });
  const options = { program, job, data: prepared, shards, clock: systemClock };
  return { recordOf, run: (from: Trained, recorded: Recorded[]) => replay(options, from.snapshot, recorded) };
}

test(
  "promise 1: one process alone, from the middle of an epoch, comes to what three workers recorded",
  limit,
  async () => {
    const at = (options: { epochs: number; stopAfterSteps?: number }) =>
      train(job, data, { shards, workers: 3, ...options });
    const from = await at({ epochs: 3, stopAfterSteps: 2 });
    assert.equal(from.progress.step, 2);
    const later = [await at({ epochs: 3, stopAfterSteps: 4 }), await at({ epochs: 1 }), await at({ epochs: 2 })];
    const { recordOf, run } = await replayer();
    const recorded = later.map(recordOf);
    assert.deepEqual(
      recorded.map(({ step }) => step),
      [4, 6, 12],
    );
    const compared = await run(from, recorded);
    assert.deepEqual(
      compared.map(({ isSame }) => isSame),
      [true, true, true],
    );

    // The same, but for one digit: of the weights here, and of the state there.
    const wrong = (digest: string) => digest.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
    const [first, second, third] = recorded as [Recorded, Recorded, Recorded];
    const found = await run(from, [
      first,
      { ...second, weightsDigest: wrong(second.weightsDigest) },
      { ...third, state: { ...third.state!, digest: wrong(third.state!.digest) } },
    ]);
    assert.deepEqual(
      found.map(({ isSame }) => isSame),
      [true, false, false],
    );
    // A state of the same step whose epoch is still open has other digests, and the same weights.
    const open = { ...second, state: { ...second.state!, epoch: 0, stepInEpoch: 6, digest: "sha256:another" } };
    assert.deepEqual(
      (await run(from, [open])).map(({ isSame }) => isSame),
      [true],
    );
  },
);

test("what can be compared with is of later steps, in their order, and of another lineage the weights alone", () => {
  const ledger = { event: "boundary" as const, epoch: 1, weightsDigest: "sha256:w" };
  const manifest = (id: string, lineage: number, step: number) =>
    ({
      id,
      lineage,
      era: 1,
      step,
      weightsDigest: "sha256:w",
      stateDigest: "sha256:s",
      epoch: 1,
      stepInEpoch: 0,
    }) as Manifest;
  const entries = [0, 6, 12].map((step) => ({ ...ledger, step }));
  const stored = [manifest("a", 1, 6), manifest("b", 1, 9), manifest("c", 2, 10)];
  const found = recordedAfter({ lineage: 1, era: 1, step: 6 }, entries, stored);
  assert.deepEqual(
    found.map(({ step, state }) => [step, state !== null]),
    [
      [9, true],
      [10, false],
      [12, false],
    ],
  );
  assert.deepEqual(
    recordedAfter({ lineage: 2, era: 1, step: 8 }, [], stored).map(({ step, state }) => [step, state !== null]),
    [
      [9, false],
      [10, true],
    ],
  );
});
