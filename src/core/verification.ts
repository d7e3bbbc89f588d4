/** The proof of exactness as a table: runs of one job that must all come to the same bits, and the verdict on each. */
import { formatCount } from "./number-format.ts";
import { table } from "./summary-table.ts";

export type Fault = "none" | "kill-some" | "kill-all";

export interface Combination {
  readonly workers: number;
  readonly fault: Fault;
  /** With how many workers it goes on after everything was killed. */
  readonly workersAfter: number;
}

/** What became of a combination. */
export type Outcome =
  | {
      readonly kind: "finished";
      readonly weightsDigest: string;
      /** Every number of the history, as text. */
      readonly history: string;
      readonly generations: number;
      readonly steps: number;
    }
  /** The fault could not happen: the run was over before. */
  | { readonly kind: "skipped"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };

export interface Row {
  readonly combination: Combination;
  readonly outcome: Outcome;
  /** "reference" for the first that finished, to which all others are compared. */
  readonly verdict: "reference" | "same" | "other weights" | "other history" | "failed" | "skipped";
}

/** All undisturbed runs first, then, with faults, each number of workers with each fault. */
export function combinations(workers: readonly number[], withFaults: boolean): Combination[] {
  const at = (fault: Fault) =>
    workers.map((count, i) => ({ workers: count, fault, workersAfter: workers[(i + 1) % workers.length]! }));
  return [...at("none"), ...(withFaults ? [...at("kill-some"), ...at("kill-all")] : [])];
}

export function judgeAll(results: readonly { combination: Combination; outcome: Outcome }[]): Row[] {
  const reference = results.map(({ outcome }) => outcome).find((outcome) => outcome.kind === "finished");
  return results.map(({ combination, outcome }) => {
    const verdict = (): Row["verdict"] => {
      if (outcome.kind !== "finished") return outcome.kind;
      if (outcome === reference) return "reference";
      if (outcome.weightsDigest !== reference!.weightsDigest) return "other weights";
      return outcome.history === reference!.history ? "same" : "other history";
    };
    return { combination, outcome, verdict: verdict() };
  });
}

export interface VerificationSummary {
  readonly run: number;
  readonly failed: number;
  readonly skipped: number;
  /** The different digests that came out: one, if all is well. */
  readonly digests: readonly string[];
}

export function summarize(rows: readonly Row[]): VerificationSummary {
  const digests = rows.flatMap(({ outcome }) => (outcome.kind === "finished" ? [outcome.weightsDigest] : []));
  const skipped = rows.filter(({ verdict }) => verdict === "skipped").length;
  return {
    run: rows.length - skipped,
    failed: rows.filter(({ verdict }) => verdict === "failed" || verdict.startsWith("other")).length,
    skipped,
    digests: [...new Set(digests)],
  };
}

/** Whether the runs prove it: at least two were finished, none failed or was left out, and all came to the same. */
export function isExact({ run, failed, skipped, digests }: VerificationSummary): boolean {
  return run >= 2 && failed === 0 && skipped === 0 && digests.length === 1;
}

/** The table and the verdict, for people. */
export function verificationText(rows: readonly Row[], shards: number): string {
  const cells = rows.map(({ combination, outcome, verdict }) => [
    String(combination.workers),
    describe(combination),
    outcome.kind === "finished" ? formatCount(outcome.steps) : "",
    outcome.kind === "finished" ? String(outcome.generations) : "",
    outcome.kind === "finished" ? outcome.weightsDigest.slice(0, 23) : "",
    outcome.kind === "finished" ? verdict : `${verdict}: ${outcome.reason}`,
  ]);
  const summary = summarize(rows);
  return `${table([["workers", "disturbance", "steps", "generations", "weights", "verdict"], ...cells], [0, 2, 3])}\n\n${verdictOn(summary, shards)}`;
}

function verdictOn(summary: VerificationSummary, shards: number): string {
  const { run, failed, skipped, digests } = summary;
  if (isExact(summary)) return `Exact: ${run} runs with ${shards} shards, one digest, one history.\n${digests[0]}`;
  if (digests.length === 0) return "No run finished, so nothing is proven.";
  if (failed === 0 && skipped > 0) {
    return `Not proven: ${skipped} of ${run + skipped} runs were over before anything was killed in them; give more --epochs.`;
  }
  if (failed === 0) return "Only one run finished, so there is nothing to compare; give several --workers, or --kill.";
  return `NOT exact: ${failed} of ${run} runs failed or differ from the first.`;
}

export function describe({ fault, workersAfter }: Combination): string {
  if (fault === "none") return "none";
  if (fault === "kill-some") return "the leader and the coordinator killed";
  return `all killed, then ${workersAfter} worker${workersAfter === 1 ? "" : "s"}`;
}
