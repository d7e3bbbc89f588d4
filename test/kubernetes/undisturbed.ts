/** What the disturbed run is compared with. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ran } from "./kubernetes-cluster.ts";

/** Of a launch on this machine, with one worker that does the work of all shards. */
export async function undisturbedDigest(job: string, shards: number, epochs: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-undisturbed-"));
  try {
    const words = ["--workers", "1", "--shards", String(shards)];
    const launched = await ran(
      "bin/lockstep.mjs",
      [
        "launch",
        job,
        "--engine",
        "native",
        ...words,
        "--threads",
        "1",
        "--epochs",
        String(epochs),
        "--json",
        "--directory",
        folder,
      ],
      { XDG_STATE_HOME: join(folder, "state") },
    );
    assert.equal(launched.code, 0, launched.stderr.slice(-4000));
    const finished = launched.stdout.split("\n").find((line) => line.includes('"finished"'));
    return (JSON.parse(finished!) as { weightsDigest: string }).weightsDigest;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
