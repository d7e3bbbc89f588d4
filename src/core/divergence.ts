/**
 * Replicas that must be equal and are not. A flipped bit in one replica enters the next sum, so all the others apply the
 * same wrong update: a vote finds the outlier and would keep the poison. So a divergence voids every step since the
 * last state that was agreed on and published; everyone goes back to it and computes again. The outvoted are left out.
 * When nobody is outvoted (one of two is wrong), everyone replays; if they differ there again, the run stops.
 */
import { compareStates, type Report, type StateName } from "./state-order.ts";

export interface Divergence {
  /** Where the states were compared: "epoch-3", "step-17". */
  readonly place: string;
  /** What was agreed on for this place before, if anything was. */
  readonly agreed: string | null;
  readonly states: readonly { readonly workerId: string; readonly digest: string; readonly isCopy?: boolean }[];
}

/** Everything after `from` that was computed in generations before this one is void. */
export interface Replay {
  readonly generation: number;
  readonly from: StateName;
  readonly reason: string;
  /** Nobody could be blamed. */
  readonly undecided: boolean;
}

/**
 * Those whose state is not the one that was agreed on, or that more than half of all have; nobody without such a one. A
 * copy is a second voice of whoever it was taken from, so it does not count.
 */
export function outvoted({ agreed, states }: Divergence): readonly string[] {
  const voters = states.filter(({ isCopy }) => !isCopy);
  const votes = (digest: string) => voters.filter((state) => state.digest === digest).length;
  const right = agreed ?? voters.find(({ digest }) => votes(digest) * 2 > voters.length)?.digest;
  return right === undefined ? [] : states.filter(({ digest }) => digest !== right).map(({ workerId }) => workerId);
}

export function describeDivergence({ place, agreed, states }: Divergence): string {
  const named = states.map(({ workerId, digest }) => `${workerId} ${short(digest)}`).join(", ");
  return `the workers' states differ at ${place}: ${named}${agreed === null ? "" : `; agreed was ${short(agreed)}`}`;
}

/** Compares what a generation's members report, with each other and with `latest`; null when all fits. */
export function divergenceOf(reports: readonly Report[], latest: StateName | null): Divergence | null {
  for (const { state } of reports) {
    if (!state) continue;
    const agreed = latest && compareStates(latest, state) === 0 ? latest.digest : null;
    const states = reports.flatMap((other) =>
      other.state && compareStates(other.state, state) === 0
        ? [{ workerId: other.workerId, digest: other.state.digest, isCopy: other.isCopy }]
        : [],
    );
    const expected = agreed ?? state.digest;
    if (states.some(({ digest }) => digest !== expected)) return { place: `step-${state.step}`, agreed, states };
  }
  return null;
}

/** Whether a reported state may still be gone on from. */
export function isValid({ state, trainedIn }: Report, replay: Replay | null): boolean {
  return !state || !replay || trainedIn >= replay.generation || compareStates(state, replay.from) <= 0;
}

function short(digest: string): string {
  return digest.slice(0, 19);
}
