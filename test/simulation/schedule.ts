/** Which faults come when: a plain list, drawn from the seed, that can be printed, shortened and run again. */
import type { Moment } from "./observer.ts";
import type { Chance } from "./random.ts";

/** Every kind of fault, and whether the protocol is built to survive it yet. */
export const supportedFaults = {
  "kill-worker": true,
  "kill-leader": true,
  "kill-coordinator": true,
  "kill-two": true,
  "kill-all-but-one": true,
  "kill-all": true,
  "lose-machine": true,
  "crash-loop": true,
  "stop-worker": true,
  "stop-leader": true,
  "stop-coordinator": true,
  hang: true,
  "flip-bit": true,
  "damaged-copy": true,
  "etcd-outage": true,
  "etcd-election": true,
  "etcd-late-expiry": true,
  "etcd-requests-lost": true,
  "etcd-requests-late": true,
  "etcd-replies-lost": true,
  "etcd-hints-lost": true,
  "etcd-hints-late": true,
  "etcd-hints-doubled": true,
  "etcd-compaction": true,
  "cut-peers": true,
  "cut-peers-one-way": true,
  "cut-etcd": true,
  "cut-etcd-one-way": true,
  drain: true,
  "drain-all": true,
  "scale-up": true,
  pin: true,
  "disk-failing": true,
  "disk-slow": true,
  "corrupt-latest": true,
  "lose-disk": true,
  "damage-copy": true,
  "etcd-lost": true,
  "etcd-restored": true,
  "etcd-set-back": true,
} as const;

export type FaultKind = keyof typeof supportedFaults;

export interface Fault {
  readonly kind: FaultKind;
  readonly atMs: number;
  /** For faults that last. */
  readonly forMs: number;
  /** Whom it meets: the n-th of those who are there, whoever that is then. */
  readonly target: number;
  /** Another one, for faults between two. */
  readonly other: number;
  /** Not at once but so long after the next such moment. */
  readonly on: { readonly moment: Moment; readonly afterMs: number } | null;
}

const moments: readonly Moment[] = [
  "forming",
  "reported",
  "running",
  "stepped",
  "arrived",
  "committed",
  "writing",
  "written",
  "published",
];

/** Drawn by themselves. */
const special: readonly FaultKind[] = [
  "flip-bit",
  "damaged-copy",
  "corrupt-latest",
  "lose-disk",
  "damage-copy",
  "etcd-lost",
  "etcd-restored",
  "etcd-set-back",
];

/** Faults after which nobody might be left who has the state. */
const deadly: readonly FaultKind[] = [
  "kill-worker",
  "kill-leader",
  "kill-two",
  "kill-all-but-one",
  "kill-all",
  "lose-machine",
  "crash-loop",
  "hang",
  "drain",
  "drain-all",
  "lose-disk",
];

export const allKinds = Object.keys(supportedFaults) as FaultKind[];

/** Lease and failure budget are 3 to 5 s, so what lasts is drawn on both sides of that. */
export function drawSchedule(chance: Chance, horizonMs: number): Fault[] {
  const kinds = allKinds.filter((kind) => supportedFaults[kind] && !special.includes(kind));
  // Nobody dies: when the one that is wrong dies before states are compared next, nobody is left to see it (Open in rule 1).
  if (chance.is(0.05)) {
    const flip = draw(chance, "flip-bit", horizonMs);
    // Who joins makes the others compare their states before the epoch's end.
    return chance.is(0.5) ? [flip, { ...draw(chance, "scale-up", horizonMs), atMs: flip.atMs }] : [flip];
  }
  // Some seeds draw from few kinds, so that one fault meets itself again and again.
  const few = chance.is(0.4) ? [chance.pick(kinds), chance.pick(kinds), chance.pick(kinds)] : kinds;
  const count = chance.is(0.05) ? 0 : chance.whole(1, 7);
  const faults = Array.from({ length: count }, () => draw(chance, chance.pick(few), horizonMs));
  // Beside the others, which make copies necessary.
  if (chance.is(0.15)) faults.push(draw(chance, "damaged-copy", horizonMs));
  // Nobody looks at it before everybody is gone.
  if (chance.is(0.12)) {
    const atMs = Math.round(chance.between(0, horizonMs));
    const on = chance.is(0.8) ? { moment: "published" as const, afterMs: Math.round(chance.between(0, 60)) } : null;
    const at = (kind: FaultKind): Fault => ({ ...draw(chance, kind, horizonMs), atMs, on });
    // What a lineage begins with may take its time.
    if (chance.is(0.5)) faults.push({ ...at("disk-slow"), forMs: 15_000 });
    faults.push(at("corrupt-latest"), at("kill-all"));
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** Where each worker has a disk of its own. */
export function drawDiskFaults(chance: Chance, horizonMs: number): Fault[] {
  const kinds: readonly FaultKind[] = ["lose-disk", "damage-copy"];
  const faults = Array.from({ length: chance.whole(0, 4) }, () => draw(chance, chance.pick(kinds), horizonMs));
  // So that copies are looked at.
  return chance.is(0.5) ? [...faults, { ...draw(chance, "kill-all", horizonMs), on: null }] : faults;
}

/** Once in a life, if at all, etcd's data are lost, or an older copy is put back. Where nobody sees the checkpoints, some have to live on. */
export function withLostData(
  schedule: readonly Fault[],
  chance: Chance,
  horizonMs: number,
  areSeen: boolean,
): readonly Fault[] {
  const isFlipped = schedule.some(({ kind }) => kind === "flip-bit");
  if (!chance.is(0.08) || isFlipped) return schedule;
  return withLoss(schedule, draw(chance, chance.is(0.5) ? "etcd-lost" : "etcd-restored", horizonMs), areSeen);
}

/** Instead of that, etcd is put back to an earlier moment of the same generation. Somebody lives on who has read what it lacks. */
export function withSetBack(
  schedule: readonly Fault[],
  chance: Chance,
  { horizonMs, probability }: { horizonMs: number; probability: number },
): readonly Fault[] {
  const excluded: readonly FaultKind[] = ["flip-bit", "corrupt-latest", "etcd-lost", "etcd-restored"];
  if (!chance.is(probability) || schedule.some(({ kind }) => excluded.includes(kind))) return schedule;
  return withLoss(schedule, draw(chance, "etcd-set-back", horizonMs), false);
}

function withLoss(schedule: readonly Fault[], loss: Fault, mayDie: boolean): readonly Fault[] {
  const others = mayDie ? schedule : schedule.filter(({ kind }) => !deadly.includes(kind));
  return [...others, loss];
}

function draw(chance: Chance, kind: FaultKind, horizonMs: number): Fault {
  return {
    kind,
    atMs: Math.round(chance.between(0, horizonMs)),
    forMs: Math.round(chance.is(0.5) ? chance.between(50, 3000) : chance.between(3000, 12_000)),
    target: chance.below(12),
    other: chance.below(12),
    on: chance.is(0.4)
      ? { moment: chance.pick(moments), afterMs: chance.is(0.3) ? 0 : Math.round(chance.between(0, 60)) }
      : null,
  };
}

export function describeFault({ kind, atMs, forMs, target, other, on }: Fault): string {
  const when = on ? `after ${atMs} ms, ${on.afterMs} ms after the next "${on.moment}"` : `at ${atMs} ms`;
  return `${kind} ${when}, target ${target}, other ${other}, for ${forMs} ms`;
}
