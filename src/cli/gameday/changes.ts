/** Changes of who is there that are no failure, and a worker that never gets going. */
import { systemClock } from "../../adapters/system/clock.ts";
import { noTimes } from "../../core/gameday.ts";
import { maxWorkerRestarts, NotHere } from "./cluster.ts";
import { followerOf, othersOf, type Scene, type Told } from "./scene.ts";

/** A worker that leaves finishes its step, and is gone within this. */
const leavingMs = 5000;
/** Starting a process, from the decision to do so. */
const spawnMs = 500;

export async function scale(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  if (scene.cluster.options.shards < 4) throw new NotHere("it needs four shards");
  const names = ["worker-0", "worker-1", "worker-2", "worker-3"];
  const begunMs = systemClock.wallMs();
  const worlds: string[] = [];
  for (const size of [2, 4, 1, 3]) {
    await resize(scene, names.slice(0, size));
    const now = await scene.whole();
    await scene.epochAfter(now.now.epoch);
    worlds.push(`${now.members.size} in generation ${now.generation}`);
  }
  // As many as it was before.
  await resize(scene, [...before.members.keys()]);
  await scene.whole();
  const evictions = scene.cluster.book
    .since(begunMs)
    .filter(({ message }) => String(message).startsWith("evicted") || message === "a peer is out of reach");
  scene.check(evictions.length === 0, `${evictions.length} workers were taken for failed`);
  return {
    target: "2, 4, 1 and 3 workers",
    proof: `an epoch was committed by each of ${worlds.join(", ")}`,
    times: noTimes,
    stepsLost: scene.stepsRepeated(begunMs),
  };
}

/** Has exactly these workers. */
async function resize(scene: Scene, wanted: readonly string[]): Promise<void> {
  const { cluster, expected } = scene;
  const leaving = [...expected].filter((name) => !wanted.includes(name));
  const coming = wanted.filter((name) => !expected.has(name));
  const exits = leaving.map((name) => {
    expected.delete(name);
    cluster.child(name).kill("SIGTERM");
    return cluster.child(name).exited;
  });
  for (const [i, exit] of (await Promise.all(exits)).entries()) {
    scene.check(exit.code === 0, `${leaving[i]} ended with ${exit.signal ?? `code ${exit.code}`} when it was to leave`);
  }
  for (const name of coming) {
    expected.add(name);
    await cluster.startWorker(name);
  }
}

export async function sigterm(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const leaver = followerOf(before);
  const id = before.members.get(leaver)!;
  const survivors = othersOf(before, leaver);
  const child = scene.cluster.child(leaver);
  await scene.midEpoch(leaver, before);
  const atMs = systemClock.wallMs();
  scene.expected.delete(leaver);
  child.kill("SIGTERM");
  const exit = await child.exited;
  const goneMs = systemClock.wallMs() - atMs;
  scene.check(exit.code === 0, `it ended with ${exit.signal ?? `code ${exit.code}`}`);
  scene.checkTime("its end", goneMs, leavingMs);
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  const forming = await scene.line(
    `a generation without ${leaver}`,
    atMs,
    (line) => line.message === "forming" && Number(line.generation) > before.generation,
  );
  scene.check(String(forming.reason).includes(`${id} is leaving`), `the reason was: ${String(forming.reason)}`);
  const failures = scene.cluster.book
    .since(atMs)
    .filter((line) => line.message === "a peer is out of reach" && line.peer === id && line.atMs < forming.atMs);
  scene.check(failures.length === 0, `${leaver} was taken for failed before it had left`);
  scene.checkKept(before, await scene.whole(), survivors);
  scene.expected.add(leaver);
  await scene.cluster.startWorker(leaver);
  await scene.whole();
  return {
    target: leaver,
    proof: `${leaver} (pid ${child.pid}) was gone ${goneMs} ms after SIGTERM, with code 0; the coordinator said "${String(forming.reason)}"`,
    times,
    stepsLost,
    details: { goneMs },
  };
}

/** Whenever it starts, it is killed at once. */
export async function crashLoop(scene: Scene): Promise<Told> {
  const { cluster } = scene;
  const before = await scene.whole();
  const victim = followerOf(before);
  const survivors = othersOf(before, victim);
  const atMs = systemClock.wallMs();
  scene.expected.delete(victim);
  const pausesMs: number[] = [];
  const pids: number[] = [];
  for (let start = 0; start <= maxWorkerRestarts; start++) {
    const child = cluster.child(victim);
    pids.push(child.pid);
    const next = cluster.nextStart(victim);
    child.kill("SIGKILL");
    await child.exited;
    const endedMs = systemClock.monotonicMs();
    if (start === maxWorkerRestarts) break;
    await next;
    pausesMs.push(Math.round(systemClock.monotonicMs() - endedMs));
  }
  const growing = pausesMs.every((pause, i) => i === 0 || pause > pausesMs[i - 1]! * 1.3);
  scene.check(growing, `the pauses were ${pausesMs.join(", ")} ms, which do not grow`);
  scene.check(
    pausesMs.every((pause, i) => pause >= 250 * 2 ** i - 20),
    `the pauses were only ${pausesMs.join(", ")} ms`,
  );
  const after = await scene.whole();
  scene.checkTime("the last pause", pausesMs.at(-1) ?? null, 250 * 2 ** (maxWorkerRestarts - 1) + spawnMs);
  scene.check(cluster.processes.isGivenUp(victim), `${victim} was not given up after ${maxWorkerRestarts} restarts`);
  scene.check(
    survivors.every((name) => !cluster.processes.isGivenUp(name)),
    "another was given up with it",
  );
  scene.checkKept(before, after, survivors);
  await scene.epochAfter(after.now.epoch);
  const { times, stepsLost } = scene.recovery(atMs, before, survivors);
  scene.expected.add(victim);
  await cluster.startWorker(victim);
  await scene.whole();
  return {
    target: victim,
    proof: `pids ${pids.join(" ")} were killed as they started; they came after pauses of ${pausesMs.join(", ")} ms, then ${victim} was given up`,
    times,
    stepsLost,
    details: { pausesMs: pausesMs.join(" ") },
  };
}
