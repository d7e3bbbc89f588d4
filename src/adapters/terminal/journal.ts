import { type BestSoFar, bestOf, type CheckpointPolicy, judge } from "../../core/checkpoint-policy.ts";
import { formatValue } from "../../core/number-format.ts";
import type { ClusterStatus, EpochHistory } from "../../core/status.ts";

/** Which epochs are those that were committed before somebody looked. */
export type Earlier = "before this launch" | "so far";

/** A committed epoch that has not been told yet. */
export interface EpochNews {
  readonly record: EpochHistory;
  /** Steps committed when it ended. */
  readonly step: number;
  /** What became of its checkpoint, as "val_loss 0.620 → 0.610, best saved". */
  readonly verdict: string;
}

/**
 * Finds what is new in snapshots of the status, which may repeat, skip epochs or lag behind. An epoch is known by its
 * number; one that comes again with other values (the job went back behind it) is news again.
 */
export class EpochJournal {
  readonly #policy: CheckpointPolicy;
  readonly #told = new Map<number, EpochHistory>();
  /** The history as it was looked at last, and what was best with each row: whoever looks often does not begin anew. */
  readonly #seen: { readonly record: EpochHistory; readonly best: BestSoFar | null }[] = [];

  constructor(policy: CheckpointPolicy) {
    this.#policy = policy;
  }

  /** The epochs of this snapshot that no earlier one had, oldest first. */
  news(status: ClusterStatus): EpochNews[] {
    const { history } = status;
    const other = this.#seen.findIndex(({ record }, i) => history[i] !== record);
    if (other >= 0) this.#seen.length = other;
    const news: EpochNews[] = [];
    let best = this.#seen.at(-1)?.best ?? null;
    for (const record of history.slice(this.#seen.length)) {
      const { step } = record;
      const { epoch, metrics } = record;
      // What the status tells of `best` is of the data that is there now; that of others is told where it was set aside.
      const data = "";
      const before: BestSoFar | null = best && record.setAside ? { ...best, of: record.setAside } : best;
      const judgement = judge(this.#policy, before, { epoch, step, metrics, data });
      const value = record.metrics[this.#policy.monitor];
      // What was committed decides, also where today's policy would have judged otherwise.
      if (!record.improved) best = judgement.improved ? best : judgement.best;
      else if (Number.isFinite(value)) best = { epoch, step, value: value!, of: bestOf(this.#policy, data) };
      this.#seen.push({ record, best });
      if (this.#knows(record)) continue;
      const agreed = judgement.improved === record.improved;
      const verdict = agreed ? judgement.reason : record.improved ? "best saved" : "best stays";
      news.push({ record, step, verdict });
      this.#told.set(record.epoch, record);
    }
    return news;
  }

  /**
   * Takes the epochs of this snapshot as told, in one line: those that were committed before. Null when there are none.
   * @param when as the line says it
   */
  earlier(
    { history, epochs, best }: Pick<ClusterStatus, "history" | "epochs" | "best">,
    when: Earlier = "before this launch",
  ): string | null {
    const [first, last] = [history[0], history.at(-1)];
    if (!first || !last) return null;
    for (const record of history) this.#told.set(record.epoch, record);
    const { monitor } = this.#policy;
    const value = ({ metrics }: EpochHistory) => formatValue(metrics[monitor] ?? null);
    const isOne = first === last;
    const which = isOne ? `Epoch ${first.epoch}` : `Epochs ${first.epoch}–${last.epoch}`;
    const course = isOne ? value(last) : `${value(first)} → ${value(last)}`;
    // Before the first best by the metric that decides now, `best` is that of the one that decided before.
    const by = best && best.monitor !== monitor ? ` by ${best.monitor}` : "";
    // A checkpoint is published a while after its epoch is committed.
    const kept = by === "" ? history.findLast(({ improved }) => improved) : undefined;
    const isNewer = best !== null && kept !== undefined && kept.epoch > best.epoch;
    const newest = isNewer ? { value: kept.metrics[monitor] ?? null, epoch: kept.epoch } : best;
    const top = newest && !isOne ? `, best${by} ${formatValue(newest.value)} (epoch ${newest.epoch})` : "";
    return `${which} of ${epochs} ${when}: ${monitor} ${course}${top}; \`lockstep checkpoints list\` shows what is kept of ${isOne ? "it" : "them"}.`;
  }

  #knows(record: EpochHistory): boolean {
    const told = this.#told.get(record.epoch);
    if (told === undefined || told === record) return told === record;
    const names = Object.keys(record.metrics);
    return (
      names.length === Object.keys(told.metrics).length &&
      names.every((name) => Object.is(told.metrics[name], record.metrics[name]))
    );
  }
}

/**
 * The line that a new snapshot deserves when the cluster itself has changed: its state, its generation, or the reason
 * for not training. Null when there is nothing new, or when the snapshot is older than one that was seen.
 */
export class ClusterJournal {
  #generation = 0;
  #last = "";

  news(status: ClusterStatus): string | null {
    const { state, generation, reason } = status;
    if (generation < this.#generation) return null;
    this.#generation = generation;
    // While training the reason may tell of progress, which is no news.
    const key = JSON.stringify([state, generation, state === "training" ? "" : reason]);
    if (key === this.#last) return null;
    this.#last = key;
    const where = generation === 0 ? state : `generation ${generation}, ${state}`;
    return reason === "" ? where : `${where}: ${reason}`;
  }
}
