/**
 * Which state a generation begins at: the highest of what its members have and of what was published. Within a lineage that
 * never goes back; where what was published cannot be read, it goes back behind that and opens the next lineage.
 */
import type { BestSoFar } from "./checkpoint-policy.ts";
import { isValid, type Replay } from "./divergence.ts";
import type { Running, Source } from "./membership.ts";
import { isOnTheWay, type Origin } from "./origin.ts";
import { compareStates, type Report, type StateName } from "./state-order.ts";

/** What is known of states, in memory and published. */
export interface StateView {
  /** Why the run is only equivalent, so far; empty while it is bit-exact. */
  readonly equivalences: readonly string[];
  /** Reports to the current generation. */
  readonly reports: readonly Report[];
  /** The last replay that a divergence led to. */
  readonly replay: Replay | null;
  /** Where the lineage under way begins, and the beginnings of those before. */
  readonly origin: Origin;
  readonly earlier: readonly Origin[];
  readonly latest: PublishedCheckpoint | null;
  /** All that were published and are not condemned. */
  readonly checkpoints: readonly PublishedCheckpoint[];
  /** What `best` names, or the best that is left when that is set aside. */
  readonly best: BestSoFar | null;
}

export interface PublishedCheckpoint {
  readonly id: string;
  /** The generation that published it. */
  readonly generation: number;
  readonly state: StateName;
  /** What was found wrong with it, or null: it is then whole, as far as anybody knows. */
  readonly setAside: string | null;
}

/**
 * The reports whose states may be gone on from: of this lineage, and not those that a replay has voided. Once a run is only
 * equivalent, equal steps are no longer equal states, so that nothing counts but what the last generation that ran has.
 */
export function usable({ reports, replay, latest, equivalences, origin }: StateView): readonly Report[] {
  const lastRan = Math.max(latest?.generation ?? 0, ...reports.map(({ trainedIn }) => trainedIn));
  return reports.filter(
    (report) =>
      (!report.state || report.state.lineage === origin.lineage) &&
      isValid(report, replay) &&
      (equivalences.length === 0 || report.trainedIn === lastRan),
  );
}

/** What was published last in the lineage under way; before anything was, what it begins from. Null: the seed. */
export function baseOf({ latest, origin, checkpoints }: StateView): PublishedCheckpoint | null {
  if (!origin.from || latest?.state.lineage === origin.lineage) return latest;
  const { checkpoint, state } = origin.from;
  const gone = "the state that the lineage began from was in a worker's memory, and the worker is gone";
  return (
    checkpoints.find(({ id }) => id === checkpoint) ?? {
      ...{ id: checkpoint ?? "the beginning", generation: 0, state },
      setAside: checkpoint === null ? gone : "it is not there any more",
    }
  );
}

/**
 * Where a generation begins: at the highest state of the reports and of what was published; the seed only when there is
 * neither. If what was published cannot be read and nobody has it in memory, it goes back behind that, in a new lineage.
 */
export function beginningOf(
  view: StateView,
  reports: readonly Report[],
): Pick<Running, "source" | "origin"> | { readonly fail: string } {
  const { origin } = view;
  const base = baseOf(view);
  const member = highestOf(reports);
  if (member && (!base || compareStates(member.state, base.state) >= 0)) return { source: member, origin };
  if (!base) return { source: { kind: "seed" }, origin };
  if (base.setAside === null) return { source: { kind: "checkpoint", id: base.id, state: base.state }, origin };
  const before = newestWhole(view);
  const source =
    member && (!before || compareStates(member.state, before.state) >= 0)
      ? member
      : before && { kind: "checkpoint" as const, id: before.id, state: before.state };
  const reason = `${base.id} is set aside: ${base.setAside}`;
  if (!source) return { fail: `${reason}; and no other checkpoint is whole that could be gone on from` };
  const from = { checkpoint: source.kind === "checkpoint" ? source.id : null, state: source.state };
  return {
    source,
    origin: { lineage: origin.lineage + 1, era: origin.era, from, reason, best: view.best, after: origin.after },
  };
}

function highestOf(reports: readonly Report[]): Extract<Source, { kind: "member" }> | null {
  let highest: Extract<Source, { kind: "member" }> | null = null;
  for (const { workerId, state } of reports) {
    if (state && (!highest || compareStates(state, highest.state) > 0)) highest = { kind: "member", workerId, state };
  }
  return highest;
}

function newestWhole({ checkpoints, origin, earlier }: StateView): PublishedCheckpoint | null {
  const whole = checkpoints.filter(({ setAside, state }) => setAside === null && isOnTheWay(state, origin, earlier));
  return whole.reduce<PublishedCheckpoint | null>(
    (newest, one) => (newest && compareStates(newest.state, one.state) > 0 ? newest : one),
    null,
  );
}
