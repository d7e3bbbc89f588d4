/**
 * Gameday: faults on purpose, one after the other, in one run of the user's job; and what is said of them afterwards.
 * The run is compared with an undisturbed one epoch by epoch, so whatever changes a bit is known by the fault before it.
 */
import { LockstepError } from "./errors.ts";
import { nearestName } from "./nearest-name.ts";
import { orderedMetrics } from "./run-result.ts";
import { plural, table, wrapList } from "./summary-table.ts";

/** In the order in which they are done. Those that end processes for good, or look at their own runs, come last. */
export const faultNames = [
  "kill-worker",
  "restart",
  "kill-leader",
  "kill-leader-arrival",
  "kill-leader-writing",
  "kill-coordinator",
  "kill-coordinator-standby",
  "kill-coordinator-worker",
  "kill-two",
  "kill-all-but-one",
  "kill-all-workers",
  "etcd-member",
  "etcd-leader",
  "etcd-outage",
  "stop-worker",
  "stop-leader",
  "cut-peers",
  "cut-one-way",
  "cut-one-way-in",
  "cut-etcd",
  "cut-etcd-one-way",
  "hang",
  "flip-bit",
  "scale",
  "sigterm",
  "crash-loop",
  "flip-bit-two",
] as const;

export type FaultName = (typeof faultNames)[number];

/** The faults of `--faults a,b,…`, in gameday's order; all of them when nothing is given. */
export function chooseFaults(text: string | undefined): readonly FaultName[] {
  if (text === undefined) return faultNames;
  const words = text.split(",").map((word) => word.trim());
  const unknown = words.find((word) => !faultNames.some((name) => name === word));
  if (unknown !== undefined) {
    const near = nearestName(unknown, faultNames);
    throw new LockstepError("usage", `--faults names ${JSON.stringify(unknown)}; there are ${faultNames.join(", ")}.`, {
      ...(near && { hint: `Did you mean ${near}?` }),
    });
  }
  return faultNames.filter((name) => words.includes(name));
}

/** Milliseconds from the fault until …; null where there is no such moment. */
export interface Times {
  /** … somebody said so in etcd, or the coordinator acted on it. */
  readonly detect: number | null;
  /** … the next generation ran. */
  readonly form: number | null;
  /** … the last of its members had the state. */
  readonly catchUp: number | null;
  /** … all who went on had committed a step. */
  readonly firstStep: number | null;
}

export const noTimes: Times = { detect: null, form: null, catchUp: null, firstStep: null };

/** What a fault has come to. */
export interface Finding {
  readonly fault: FaultName;
  readonly target: string;
  /** What shows that it happened. */
  readonly proof: string;
  readonly times: Times;
  /** Committed steps that survivors lost; null where nobody survived. */
  readonly stepsLost: number | null;
  /** What did not hold, as sentences. */
  readonly problems: readonly string[];
  /** Why it could not be done; then nothing is proven. */
  readonly skipped: string | null;
  /** More numbers, by name. */
  readonly details: Readonly<Record<string, number | string>>;
  /** The newest committed epoch before it, and after it; null for a fault with a run of its own. */
  readonly epochs: { readonly before: number; readonly after: number } | null;
}

/** What is compared at an epoch's end. */
export interface EpochState {
  readonly epoch: number;
  readonly step: number;
  readonly weightsDigest: string;
  readonly metrics: Readonly<Record<string, number>> | null;
}

export interface Comparison {
  /** How many epochs both runs have. */
  readonly epochs: number;
  /** The first in which they differ, as a sentence; null when all are equal. */
  readonly difference: { readonly epoch: number; readonly what: string } | null;
  /** The weights at the last of them. */
  readonly weightsDigest: string;
}

/** Compares every epoch of `disturbed` with `reference`; an epoch that one of them lacks is a difference. */
export function compareRuns(disturbed: readonly EpochState[], reference: readonly EpochState[]): Comparison {
  const last = disturbed.at(-1)?.epoch ?? 0;
  const weightsDigest = disturbed.at(-1)?.weightsDigest ?? "";
  for (let epoch = 0; epoch <= last; epoch++) {
    const what = differenceOf(
      disturbed.find((state) => state.epoch === epoch),
      reference.find((state) => state.epoch === epoch),
    );
    if (what) return { epochs: last, difference: { epoch, what }, weightsDigest };
  }
  return { epochs: last, difference: null, weightsDigest };
}

function differenceOf(disturbed: EpochState | undefined, reference: EpochState | undefined): string | null {
  if (!disturbed || !reference) return `the ${disturbed ? "undisturbed" : "disturbed"} run has no record of it`;
  if (disturbed.step !== reference.step) return `step ${disturbed.step}, undisturbed ${reference.step}`;
  if (disturbed.weightsDigest !== reference.weightsDigest) {
    return `weights ${disturbed.weightsDigest}, undisturbed ${reference.weightsDigest}`;
  }
  const text = ({ metrics }: EpochState) => JSON.stringify(orderedMetrics(metrics ?? {}));
  return text(disturbed) === text(reference) ? null : `metrics ${text(disturbed)}, undisturbed ${text(reference)}`;
}

/** The findings with the first difference put down to the fault that was under way, or was the last before it. */
export function attribute(findings: readonly Finding[], { difference }: Comparison): readonly Finding[] {
  if (!difference) return findings;
  const begun = findings.filter(({ epochs, skipped }) => !skipped && epochs && epochs.before < difference.epoch);
  const blamed = begun.find(({ epochs }) => epochs!.after >= difference.epoch) ?? begun.at(-1);
  return findings.map((finding) => {
    if (finding !== blamed) return finding;
    const problem = `epoch ${difference.epoch} is not that of the undisturbed run: ${difference.what}`;
    return { ...finding, problems: [...finding.problems, problem] };
  });
}

export type Verdict = "pass" | "fail" | "skipped";

export function verdictOf({ problems, skipped }: Finding): Verdict {
  if (problems.length > 0) return "fail";
  return skipped === null ? "pass" : "skipped";
}

/** The promises of PROTOCOL.md, and the faults that put each to the test. */
const promises: readonly { readonly title: string; readonly faults: readonly FaultName[] }[] = [
  { title: "Exact", faults: faultNames.filter((name) => name !== "flip-bit-two") },
  {
    title: "No lost step",
    faults: [
      ...(["kill-worker", "restart", "kill-leader", "kill-leader-arrival", "kill-leader-writing"] as const),
      ...(["kill-two", "kill-all-but-one", "stop-worker", "stop-leader", "cut-peers", "cut-one-way"] as const),
      ...(["cut-one-way-in", "cut-etcd", "cut-etcd-one-way", "hang", "scale", "sigterm"] as const),
      "kill-coordinator-worker",
    ],
  },
  {
    title: "Whole",
    faults: [
      ...(["kill-leader", "kill-leader-arrival", "kill-leader-writing", "stop-leader"] as const),
      ...(["kill-all-but-one", "kill-all-workers", "flip-bit"] as const),
    ],
  },
  {
    title: "Fenced",
    faults: [
      ...(["stop-worker", "stop-leader", "cut-peers", "cut-one-way"] as const),
      ...(["cut-one-way-in", "cut-etcd", "cut-etcd-one-way"] as const),
    ],
  },
  { title: "Every sample once", faults: ["scale", "kill-worker", "kill-leader", "kill-all-workers", "flip-bit"] },
  {
    title: "Live",
    faults: [
      ...(["kill-coordinator", "kill-coordinator-standby", "kill-coordinator-worker"] as const),
      ...(["etcd-member", "etcd-leader", "etcd-outage"] as const),
      ...(["crash-loop", "kill-all-but-one", "hang", "sigterm"] as const),
    ],
  },
  { title: "Honest", faults: ["flip-bit", "flip-bit-two", "hang"] },
];

/** The promises that the run as a whole puts to the test, with or without a certain fault. */
const shownByTheRun: ReadonlySet<string> = new Set(["Exact", "Whole", "Every sample once"]);
/** Those that nothing but the comparison with the undisturbed run shows. */
const shownByComparison: ReadonlySet<string> = new Set(["Exact", "Every sample once"]);

export interface PromiseVerdict {
  readonly promise: number;
  readonly title: string;
  readonly verdict: "pass" | "fail" | "not tested";
  readonly shown: string;
}

/** What the whole run has shown beside its faults: problems with what was committed and published. */
export interface WholeRun {
  readonly comparison: Comparison | null;
  /** By promise title. */
  readonly problems: Readonly<Partial<Record<string, readonly string[]>>>;
}

export function judgePromises(findings: readonly Finding[], run: WholeRun): readonly PromiseVerdict[] {
  return promises.map(({ title, faults }, i) => {
    const tested = findings.filter((finding) => faults.includes(finding.fault) && verdictOf(finding) !== "skipped");
    // What was late is no other bit: of these promises the comparison alone tells.
    const blamed = shownByComparison.has(title) ? [] : tested;
    const failed = blamed.filter((finding) => verdictOf(finding) === "fail").map(({ fault }) => fault);
    const problems = [...(run.problems[title] ?? []), ...(failed.length > 0 ? [`failed: ${failed.join(", ")}`] : [])];
    const byRun = shownByTheRun.has(title) && run.comparison !== null;
    // Without a run to compare with, faults that went well say nothing of the bits.
    const shownByFaults = tested.length > 0 && !shownByComparison.has(title);
    const verdict = problems.length > 0 ? "fail" : shownByFaults || byRun ? "pass" : "not tested";
    const evidence = byRun ? [runEvidence(title, run.comparison!)] : [];
    const names = tested.map(({ fault }) => fault);
    const shown =
      verdict === "fail" ? problems.join("; ") : verdict === "pass" ? [...evidence, ...names].join(", ") : "";
    return { promise: i + 1, title, verdict, shown };
  });
}

function runEvidence(title: string, { epochs, weightsDigest }: Comparison): string {
  const count = plural(epochs, "epoch");
  if (title === "Exact") return `${count} equal the undisturbed run's in every bit (${weightsDigest.slice(0, 19)})`;
  if (title === "Whole") return "best and latest load and verify";
  return `${count} of as many steps as they have batches`;
}

/** The JSON line at the end. */
export interface GamedaySummary {
  readonly run: number;
  readonly failed: number;
  readonly skipped: number;
  /** How often each kind was injected. */
  readonly faults: Readonly<Record<string, number>>;
}

export function summarizeGameday(
  findings: readonly Finding[],
  promiseVerdicts: readonly PromiseVerdict[],
): GamedaySummary {
  const count = (verdict: Verdict) => findings.filter((finding) => verdictOf(finding) === verdict).length;
  const failed = count("fail");
  // What the run as a whole did not keep counts even when every fault by itself went well.
  const broken = promiseVerdicts.some(({ verdict }) => verdict === "fail");
  return {
    run: findings.length - count("skipped"),
    failed: failed === 0 && broken ? 1 : failed,
    skipped: count("skipped"),
    // Who failed before there was a proof may never have been injected.
    faults: Object.fromEntries(findings.map((finding) => [finding.fault, finding.proof === "" ? 0 : 1])),
  };
}

/** The table, what failed, and the promises, for people. */
export function gamedayText(findings: readonly Finding[], promiseVerdicts: readonly PromiseVerdict[]): string {
  const ms = (value: number | null) => (value === null ? "" : String(Math.round(value)));
  const rows = findings.map((finding) => [
    finding.fault,
    finding.target,
    ...[finding.times.detect, finding.times.form, finding.times.catchUp, finding.times.firstStep].map(ms),
    finding.stepsLost === null ? "" : String(finding.stepsLost),
    verdictOf(finding),
  ]);
  const head = ["fault", "target", "detect", "re-form", "catch up", "first step", "lost", "verdict"];
  const remarks = findings.flatMap((finding) => [
    ...wrapped(`${finding.fault}: ${finding.skipped === null ? finding.proof : `skipped: ${finding.skipped}`}`),
    ...finding.problems.map((problem) => `  FAILED: ${problem}`),
  ]);
  const lines = promiseVerdicts.flatMap(({ promise, title, verdict, shown }) =>
    wrapped(`${promise}. ${title}: ${verdict}${shown === "" ? "" : `. ${shown}`}`),
  );
  return [
    table([head, ...rows], [2, 3, 4, 5, 6]),
    "Times are milliseconds since the fault; lost are committed steps that survivors lost.",
    ["What shows that it happened", ...remarks].join("\n"),
    ["Promises", ...lines].join("\n"),
  ].join("\n\n");
}

function wrapped(text: string): string[] {
  const [first = "", ...rest] = text.split(", ");
  return wrapList(rest.length > 0 ? `${first}, ` : first, rest).split("\n");
}
