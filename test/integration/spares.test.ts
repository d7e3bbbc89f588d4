/** Workers beyond MAX stand by with the current state, and step in. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { finished, startLaunch, testFolder, whenGone } from "../fixtures/running-launch.ts";

const limit = { timeout: 240_000 };
const job = (name: string) => ["--job", name, "--shards", "2", "--epochs", "12"];

/** The entries of a worker's log. */
async function logOf(folder: string, worker: string): Promise<Record<string, unknown>[]> {
  const path = join(folder, "run", "logs", `${worker}.log`);
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>); // one object a line, see log.ts
}

test(
  "a spare follows every step, and takes over from a killed worker with its own state, to the same bits",
  limit,
  async (context) => {
    const alone = startLaunch(context, await testFolder(context), [...job("alone"), "--workers", "1"]);
    assert.equal(await alone.exited, 0, alone.errors());

    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, [...job("spares"), "--workers", "2:2", "--spares", "1"]);
    const names = ["worker-0", "worker-1", "worker-2"];
    const spareOf = async () => {
      for (const name of names) {
        const log = await logOf(folder, name);
        if (log.some(({ message }) => message === "standing by with the current state")) return name;
      }
      return null;
    };
    let spare: string | null = null;
    while (spare === null) {
      spare = await spareOf();
      await systemClock.sleep(20);
    }
    const before = await launch.whenStatus(({ epoch, state }) => state === "training" && epoch >= 1);
    const victim = before.processes.find(({ rank, leader }) => rank !== null && !leader);
    assert.ok(victim?.pid);
    process.kill(victim.pid, "SIGKILL");
    await whenGone([victim.pid]);
    assert.equal(await launch.exited, 0, launch.errors());

    const log = await logOf(folder, spare);
    const reported = log.find(({ message }) => message === "stopped and reported");
    assert.ok(Number(reported?.step) > 0, "it had a state of its own when it was made a member");
    const until = log.indexOf(reported!);
    assert.ok(!log.slice(0, until).some(({ message }) => message === "took the state"));
    const trained = log.slice(until).find(({ message }) => message === "training");
    assert.equal(trained?.generation, reported?.generation, "and trained in that generation");
    assert.equal(finished(launch).weightsDigest, finished(alone).weightsDigest);
    assert.deepEqual(finished(launch).history, finished(alone).history);
  },
);
