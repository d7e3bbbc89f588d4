/**
 * Runs side by side: how they ended, up to which epoch they are equal bit for bit, and what differs in what they are.
 *
 * Two runs are equal at an epoch when its metrics are the same numbers and its weights have the same digest. Where a digest
 * is not known for each of them, as of a checkpoint that was deleted, the metrics alone are compared, and that is said.
 */
import { formatCount, formatValue } from "./number-format.ts";
import { exactnessOf } from "./records.ts";
import { bestEpoch, metricNames, type RunHistory } from "./run-history.ts";
import type { EpochHistory } from "./status.ts";
import { printable, table } from "./summary-table.ts";

export interface ComparedRun extends RunHistory {
  /** What it is called beside the others; different for each. */
  readonly name: string;
  /** By epoch, 0 being the state before training: "sha256:…" of the weights, where it is known. */
  readonly digests: ReadonlyMap<number, string>;
  /** What its bits depend on, field by field. */
  readonly fields: Readonly<Record<string, string>>;
  /** Why it is only equivalent; empty while it is bit-exact. */
  readonly equivalences: readonly string[];
}

export interface Comparison {
  readonly runs: readonly ComparedRun[];
  /** The first so many epochs are in all runs, and equal. */
  readonly equalEpochs: number;
  /** Epochs that all runs have. */
  readonly commonEpochs: number;
  /** Among the equal epochs, those whose weights could not be compared. */
  readonly uncompared: readonly number[];
  /** Null where nothing that all runs have differs. */
  readonly difference: Difference | null;
  /** The fields in which not all are alike, with each run's value; null where it has none. */
  readonly fields: readonly { readonly field: string; readonly values: readonly (string | null)[] }[];
}

export interface Difference {
  /** 0: before training. */
  readonly epoch: number;
  /** "weights", and the names of metrics. */
  readonly what: readonly string[];
}

export function compareRuns(runs: readonly ComparedRun[]): Comparison {
  const records = runs.map(({ history }) => new Map(history.map((record) => [record.epoch, record])));
  const common = [...records[0]!.keys()].filter((epoch) => records.every((known) => known.has(epoch)));
  const uncompared: number[] = [];
  let difference: Difference | null = null;
  let equalEpochs = 0;
  for (const epoch of [0, ...common.sort((a, b) => a - b)]) {
    const digests = runs.map((run) => run.digests.get(epoch));
    const isKnown = digests.every((digest) => digest !== undefined);
    const what = [
      ...(isKnown && new Set(digests).size > 1 ? ["weights"] : []),
      ...(epoch === 0 ? [] : differingMetrics(records.map((known) => known.get(epoch)!))),
    ];
    if (what.length > 0) {
      difference = { epoch, what };
      break;
    }
    if (epoch === 0) continue;
    equalEpochs++;
    if (!isKnown) uncompared.push(epoch);
  }
  return { runs, equalEpochs, commonEpochs: common.length, uncompared, difference, fields: differingFields(runs) };
}

function differingMetrics(records: readonly EpochHistory[]): string[] {
  const [first] = records;
  return metricNames(records).filter((name) =>
    records.some(({ metrics }) => !Object.is(metrics[name], first!.metrics[name])),
  );
}

function differingFields(runs: readonly ComparedRun[]): Comparison["fields"] {
  const names = [...new Set(runs.flatMap(({ fields }) => Object.keys(fields)))].sort();
  const all = names.map((field) => ({ field, values: runs.map(({ fields }) => fields[field] ?? null) }));
  return all.filter(({ values }) => new Set(values).size > 1);
}

/** For people. No line break at the end. */
export function comparisonText(comparison: Comparison): string {
  const { runs } = comparison;
  const row = (name: string, value: (run: ComparedRun) => string) => [name, ...runs.map(value)];
  const last = ({ history }: ComparedRun) => history.at(-1);
  const best = ({ history }: ComparedRun) => bestEpoch(history);
  const monitors = [...new Set(runs.map(({ policy }) => policy.monitor))];
  const values = runs.map((_, index) => index + 1);
  const figures = table(
    [
      row("", ({ name }) => name),
      row("epochs", ({ history }) => formatCount(history.length)),
      row("steps", (run) => formatCount(last(run)?.step ?? 0)),
      row("best epoch", (run) => (best(run) ? formatCount(best(run)!.epoch) : "–")),
      ...monitors.map((monitor) =>
        row(`best ${printable(monitor)}`, (run) =>
          run.policy.monitor === monitor ? formatValue(best(run)?.metrics[monitor]) : "–",
        ),
      ),
      ...metricNames(runs.flatMap(({ history }) => history)).map((name) =>
        row(`last ${printable(name)}`, (run) => formatValue(last(run)?.metrics[name])),
      ),
      row("exactness", ({ equivalences }) => exactnessOf(equivalences)),
    ],
    values,
  );
  return [figures, equality(comparison), ...differences(comparison)].join("\n\n");
}

/** As sentences: up to where the runs are equal, and in what they differ first. */
function equality({ equalEpochs, commonEpochs, uncompared, difference }: Comparison): string {
  if (commonEpochs === 0 && difference === null) return "There is no epoch that all of them have.";
  const equal =
    equalEpochs === 0
      ? "No epoch is equal."
      : `${equalEpochs === 1 ? "Epoch 1 is" : `Epochs 1–${formatCount(equalEpochs)} are`} equal bit for bit.`;
  const begins = difference?.epoch === 0 ? "before training" : `at epoch ${formatCount(difference?.epoch ?? 0)}`;
  const differs = difference ? ` They differ first ${begins}: ${difference.what.map(printable).join(", ")}.` : "";
  const unknown =
    uncompared.length === 0
      ? ""
      : ` Of ${formatCount(uncompared.length)} of them only the metrics were compared, as no digest of the weights is known here.`;
  return equal + differs + unknown;
}

const longestValue = 40;

function differences({ runs, fields }: Comparison): string[] {
  if (fields.length === 0) return ["Nothing differs in what they are made from."];
  const shown = (value: string | null) => {
    const text = printable(value ?? "–").replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1…");
    return text.length <= longestValue ? text : `${text.slice(0, longestValue - 1)}…`;
  };
  const rows = fields.map(({ field, values }) => [field, ...values.map(shown)]);
  return [table([["differs", ...runs.map(({ name }) => name)], ...rows])];
}

/** As `--json` prints it. Numbers that JSON has no word for are null. */
export function comparisonJson({ runs, ...found }: Comparison): Record<string, unknown> {
  const { equalEpochs, commonEpochs, uncompared, difference, fields } = found;
  return {
    runs: runs.map(({ name, job, run, policy, history, digests, equivalences }) => {
      const [last, best] = [history.at(-1) ?? null, bestEpoch(history)];
      const weightsDigest = (last && digests.get(last.epoch)) ?? null;
      return { name, job, run, policy, last, best, weightsDigest, exactness: exactnessOf(equivalences), equivalences };
    }),
    ...{ equalEpochs, commonEpochs, uncompared, difference, fields },
  };
}
