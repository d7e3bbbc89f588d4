/** Faults from inside: a computation that never ends, and bits that flip. */
import { join } from "node:path";
import { systemClock } from "../../adapters/system/clock.ts";
import { noTimes } from "../../core/gameday.ts";
import { isStep, type LogLine, recoveryFrom } from "../../core/log-reading.ts";
import { GamedayCluster, NotHere } from "./cluster.ts";
import { followerOf, othersOf, type Scene, type Told } from "./scene.ts";
import { noticedBy } from "./silences.ts";

/** The step deadline and the votes of several who wait; then the hung process is found to be stuck and ends. */
const deadlineBudgets = 2;

const broken = (name: string, fault: string) => (line: LogLine) =>
  line.process === name && String(line.message).startsWith(`broken on purpose: ${fault}`);

const replayed = (line: LogLine) => line.message === "steps are void and replayed";

export async function hang(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const { budgetMs } = scene.limits;
  const victim = followerOf(before);
  const id = before.members.get(victim)!;
  const survivors = othersOf(before, victim);
  await scene.midEpoch(victim, before);
  scene.cluster.processes.hold(victim);
  const atMs = systemClock.wallMs();
  scene.cluster.child(victim).send({ fault: "hang" });
  await scene.line(`${victim} hanging`, atMs, broken(victim, "hang"));
  const suspicion = await scene.line(
    `somebody finding that ${victim} is late`,
    atMs,
    (line) => line.message === "a peer is out of reach" && line.peer === id,
  );
  const noticed = await noticedBy(scene, victim, atMs);
  const recovery = await scene.recovered(atMs, before, survivors);
  scene.checkTime("its eviction", recovery.times.form, deadlineBudgets * budgetMs);
  const refusal = await scene.cluster.observer.refusalOf(id);
  scene.check(refusal?.kind === "evicted", `${id} was not evicted by name`);
  // Its agent answers until it finds that the computation cannot be ended.
  const exit = await scene.cluster.child(victim).exited;
  scene.check(exit.code !== 0, `${victim} ended as if all were well`);
  scene.checkKept(before, await scene.bringBack(victim), survivors);
  return {
    target: victim,
    proof: `${suspicion.process} said of ${id} that ${String(suspicion.reason)}; ${victim} itself answered and said "${String(noticed.message)}"`,
    times: recovery.times,
    stepsLost: recovery.stepsLost,
  };
}

export async function flipBit(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  if (before.members.size < 3) throw new NotHere("of two workers nobody is outvoted; it needs three");
  const victim = followerOf(before);
  const id = before.members.get(victim)!;
  const survivors = othersOf(before, victim);
  const step = await scene.midEpoch(victim, before);
  const atMs = systemClock.wallMs();
  scene.cluster.child(victim).send({ fault: "flip-bit" });
  const flipped = await scene.line(`${victim} with a flipped bit`, atMs, broken(victim, "flip-bit"));
  const found = await scene.line("the divergence", atMs, replayed);
  const after = await scene.whole();
  const refusal = await scene.cluster.observer.refusalOf(id);
  scene.check(refusal?.kind === "diverged", `${id} was not evicted for its state`);
  for (const name of survivors) {
    const kept = after.members.get(name) === before.members.get(name);
    scene.check(kept, `${name}, whose state was right, was evicted`);
  }
  const steps = scene.cluster.book.lines.filter(
    (line) => line.process === victim && isStep(line) && line.atMs >= step.atMs && line.atMs <= flipped.atMs,
  );
  const last = Math.max(...steps.map((line) => Number(line.step)));
  const until = (Math.floor(last / before.stepsPerEpoch) + 1) * before.stepsPerEpoch;
  const foundAt = placeOf(String(found.reason), before.stepsPerEpoch);
  scene.check(foundAt <= until, `it was found at step ${foundAt}, after the next epoch's end (step ${until})`);
  await scene.epochAfter(after.now.epoch);
  const { times } = recoveryFrom(scene.cluster.book.lines, { atMs, generation: before.generation, survivors });
  return {
    target: victim,
    proof: `a bit of ${victim}'s weights was flipped after step ${Number(step.step)}; ${String(found.reason)}; all went back to step ${String(found.from)}`,
    times,
    stepsLost: null,
    details: { replayedFrom: Number(found.from) },
  };
}

/** The step at which states were found to differ; NaN where the reason names none. */
function placeOf(reason: string, stepsPerEpoch: number): number {
  const [, kind, number] = /differ at (step|epoch)-(\d+)/.exec(reason) ?? [];
  return Number(number) * (kind === "epoch" ? stepsPerEpoch : 1);
}

/** In a cluster of two workers of its own, which does not survive it. */
export async function flipBitTwo(scene: Scene): Promise<Told> {
  const { options } = scene.cluster;
  const cluster = await GamedayCluster.start({
    ...options,
    ...{ job: `${options.job}-two`, directory: join(options.directory, "two"), workers: 2, etcdMembers: 1 },
  });
  try {
    const two = scene.of(cluster);
    const before = await two.whole();
    const victim = followerOf(before);
    const flip = async () => {
      const standing = await two.whole();
      // Not in epoch 0: something has to be there to go back to.
      await two.midEpoch(victim, standing);
      const atMs = systemClock.wallMs();
      cluster.child(victim).send({ fault: "flip-bit" });
      await two.line(`${victim} with a flipped bit`, atMs, broken(victim, "flip-bit"));
      return atMs;
    };
    const firstMs = await flip();
    const found = await two.line("the divergence", firstMs, replayed);
    const after = await two.whole();
    scene.check(
      [...before.members.values()].join() === [...after.members.values()].join(),
      "one of the two was evicted, though nobody can tell which one is wrong",
    );
    const secondMs = systemClock.wallMs();
    cluster.processes.letEnd();
    await two.firstStep(victim, after.generation);
    cluster.child(victim).send({ fault: "flip-bit" });
    const end = await two.line("the end of the run", secondMs, (line) => line.message === "the run cannot go on");
    const failed = await two.until("the reason in etcd", (now) => now.failed);
    scene.check(failed === String(end.reason), "the reason in etcd is another");
    const exits = await Promise.all([...before.members.keys()].map((name) => cluster.child(name).exited));
    scene.check(
      exits.every(({ code }) => code === 11),
      `the workers ended with ${exits.map(({ code }) => code).join(" and ")}`,
    );
    return {
      target: `${victim} of two`,
      proof: `a flipped bit had both go back to step ${String(found.from)}; after the second the run stopped: ${failed}`,
      times: { ...noTimes, detect: found.atMs - firstMs },
      stepsLost: null,
    };
  } finally {
    await cluster.close();
  }
}
