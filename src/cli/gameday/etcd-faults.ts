/** Faults of etcd: one member, the member that leads, all of them for a while. */
import { systemClock } from "../../adapters/system/clock.ts";
import { noTimes } from "../../core/gameday.ts";
import { longestGap } from "../../core/log-reading.ts";
import { NotHere } from "./cluster.ts";
import type { Scene, Standing, Told } from "./scene.ts";

const outageMs = 20_000;

export async function etcdMember(scene: Scene): Promise<Told> {
  return killMember(scene, "a follower", (leader, count) => (leader + 1) % count);
}

export async function etcdLeader(scene: Scene): Promise<Told> {
  return killMember(scene, "the leader", (leader) => leader);
}

async function killMember(
  scene: Scene,
  what: string,
  choose: (leader: number, count: number) => number,
): Promise<Told> {
  const { etcd } = scene.cluster;
  const before = await scene.whole();
  const leader = await etcd.leader();
  if (leader === null || etcd.members.length < 3) throw new NotHere("it needs an etcd of three members");
  const victim = choose(leader, etcd.members.length);
  const { pid } = etcd.members[victim]!;
  await scene.midEpoch(before.leader, before);
  const atMs = systemClock.wallMs();
  await scene.cluster.killEtcd(victim);
  const first = await scene.epochAfter(before.now.epoch);
  const { epoch } = await scene.epochAfter(first.epoch);
  const untilMs = systemClock.wallMs();
  const gapMs = longestGap(scene.cluster.book.lines, [...before.members.keys()], atMs, untilMs);
  // Whoever was connected to that member has half the budget to find another, and its own election takes a second or two.
  scene.checkTime("the longest time without a step", gapMs, scene.limits.budgetMs);
  const leaderNow = await etcd.leader();
  if (victim === leader) scene.check(leaderNow !== null && leaderNow !== leader, "etcd has elected no other leader");
  await etcd.members[victim]!.restart();
  await checkNobodyLeft(scene, before);
  return {
    target: `etcd member ${victim}`,
    proof: `${what} of etcd (pid ${pid}) ended by SIGKILL; epoch ${epoch} was committed by the others, and the longest gap between steps was ${gapMs} ms`,
    times: noTimes,
    stepsLost: scene.stepsRepeated(atMs),
    details: { longestGapMs: gapMs },
  };
}

export async function etcdOutage(scene: Scene): Promise<Told> {
  const { etcd, book } = scene.cluster;
  const before = await scene.whole();
  await scene.midEpoch(before.leader, before);
  const atMs = systemClock.wallMs();
  const pids = etcd.members.map(({ pid }) => pid);
  await Promise.all(etcd.members.map((_, index) => scene.cluster.killEtcd(index)));
  const goneMs = systemClock.wallMs();
  // The outage itself: as long as it is said to last.
  await systemClock.sleep(outageMs);
  const stepsMeanwhile = book.since(goneMs).filter(({ message }) => message === "step").length;
  scene.check(stepsMeanwhile > 0, "no step was committed without etcd");
  const backMs = systemClock.wallMs();
  await Promise.all(etcd.members.map((member) => member.restart()));
  const answersMs = systemClock.wallMs();
  const { epoch } = await scene.epochAfter(before.now.epoch);
  const committed = await scene.line("a commit after the outage", backMs, ({ message }) => message === "committed");
  const waitedMs = committed.atMs - answersMs;
  scene.checkTime("the commit after etcd answered again", Math.max(0, waitedMs), 2 * scene.limits.budgetMs);
  const after = await checkNobodyLeft(scene, before, 1);
  for (const problem of await scene.cluster.observer.writtenOnce()) scene.check(false, problem);
  return {
    target: "all of etcd",
    proof: `etcd (pids ${pids.join(" ")}) ended by SIGKILL and stayed away for ${backMs - goneMs} ms, in which ${stepsMeanwhile} steps were taken; epoch ${epoch} was committed ${waitedMs} ms after it answered again`,
    times: { ...noTimes, firstStep: committed.atMs - atMs },
    stepsLost: scene.stepsRepeated(atMs),
    details: { generationsAfterwards: after.generation - before.generation, stepsMeanwhile, waitedMs },
  };
}

/** Nobody lost its place, and the membership changed at most so often. */
async function checkNobodyLeft(scene: Scene, before: Standing, changes = 0): Promise<Standing> {
  const after = await scene.whole();
  const count = after.generation - before.generation;
  scene.check(count <= changes, `the membership changed ${count} times, though no worker was gone`);
  scene.checkKept(before, after, [...before.members.keys()]);
  return after;
}
