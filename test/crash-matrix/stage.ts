/** A scene in memory, brought to the moment that the matrix disturbs: three epochs are published, the fourth is next. */
import { MemoryClient, MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { decodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import { VolatileDisk } from "../fixtures/volatile-disk.ts";
import type { Publication } from "./checks.ts";
import type { Disturbance, Point, PointName } from "./process.ts";
import { type Leader, leaseTtlMs, type Place, Scene } from "./scene.ts";

/** The epoch that is being published when the fault comes; it is the best one so far. */
export const disturbedEpoch = 4;
/** What is trained before the fault, and what after it. */
export const losses = [0.9, 0.5, 0.8, 0.4, 0.6, 0.7];

export interface Stage {
  readonly scene: Scene;
  readonly disk: VolatileDisk;
  readonly clock: ManualClock;
  readonly publications: readonly Publication[];
  /** Leads. */
  readonly first: Leader;
  /** Is a member, and does not. */
  readonly second: Leader;
}

export async function openStage(changes: Partial<Place> = {}): Promise<Stage> {
  const clock = new ManualClock();
  const scene = sceneInMemory(clock, changes);
  const publications = watchPublications(scene.store);
  await scene.scene.form("first", "second");
  const { disk } = scene;
  const first = await scene.scene.leader(scene.scene.enter("first"));
  const second = await scene.scene.leader(scene.scene.enter("second"));
  await first.stand();
  await publishUpTo(scene.scene, first, disturbedEpoch - 1);
  await scene.scene.markOld();
  return { scene: scene.scene, disk, clock, publications, first, second };
}

export function sceneInMemory(
  clock: ManualClock,
  changes: Partial<Place> = {},
): { readonly scene: Scene; readonly store: MemoryCoordination; readonly disk: VolatileDisk } {
  const disk = new VolatileDisk();
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => log };
  const options = { log, leaseMarginMs: 1000 };
  const store = new MemoryCoordination({ clock, ...options });
  const connect = (clientClock: Clock) => new MemoryClient(store, { clock: clientClock, ...options });
  const scene = new Scene({ directory: "/checkpoints", disk, clock, connect, run: 1, losses, ...changes });
  return { scene, store, disk };
}

export function watchPublications(store: MemoryCoordination): readonly Publication[] {
  const publications: Publication[] = [];
  const keys = keysOf("matrix", 1);
  store.listen((key) => {
    if (key !== keys.latest) return;
    // Called when all of the transaction is applied, and nothing after it.
    const pointer = decodeJson<CheckpointPointer>(store.get(keys.latest)!.value);
    publications.push({ pointer, leaderToken: store.get(keys.leader)?.createRevision ?? null });
  });
  return publications;
}

export async function publishUpTo(scene: Scene, leader: Leader, last: number, begin = 0): Promise<void> {
  for (let epoch = begin; epoch <= last; epoch += 1) {
    await scene.arrive(epoch);
    leader.add(epoch);
    await leader.work();
  }
}

/** What a leader is at; in an object, so that whoever gets it does not wait for it. */
export interface Working {
  readonly working: Promise<void>;
}

/** Begins to publish the disturbed epoch. */
export async function beginDisturbed({ scene }: Stage, leader: Leader, disturbance: Disturbance): Promise<Working> {
  leader.process.disturb(disturbance);
  await scene.arrive(disturbedEpoch);
  leader.add(disturbedEpoch);
  return { working: leader.work() };
}

/** Every point of publishing the disturbed epoch and deleting what it replaces, in order. */
export async function recordPoints(): Promise<readonly Point[]> {
  const points: Point[] = [];
  const stage = await openStage();
  const { working } = await beginDisturbed(stage, stage.first, { at: (point) => points.push(point) });
  await working;
  return points;
}

/** Runs the leader until it stands at the point, and stops it there. */
export async function stopAt(stage: Stage, leader: Leader, point: PointName): Promise<Working> {
  let reached = () => {};
  const reaching = new Promise<boolean>((resolve) => {
    reached = () => resolve(true);
  });
  const { working } = await beginDisturbed(stage, leader, {
    at: ({ name }) => {
      if (name !== point) return;
      leader.process.stop();
      reached();
    },
  });
  if (!(await Promise.race([reaching, working.then(() => false)]))) throw new Error(`no leader came to "${point}"`);
  return { working };
}

/** Time goes on until the lease of whoever is stopped has ended. */
export function outliveLease({ clock }: Stage): Promise<void> {
  return clock.advance(leaseTtlMs + 1);
}
