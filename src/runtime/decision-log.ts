/** What a coordinator logs of what it has decided and written: one line a decision, with its reason. */
import type { Decision } from "../core/decision.ts";
import { describeSource, memberIds } from "../core/membership.ts";
import type { Keys } from "../core/keys.ts";
import type { Done } from "../core/records.ts";
import type { Log } from "../ports/log.ts";
import { equivalencesOf } from "./decision-operations.ts";
import type { RunReading } from "./run-reading.ts";

/** What is written, and not only waited for. */
export type Act = Exclude<Decision, { kind: "wait" | "rebuild" }>;

/** @param reading as it was when the decision was taken */
export function tellDecision(log: Log, decision: Act, reading: RunReading, keys: Keys): void {
  switch (decision.kind) {
    case "form": {
      const { forming, replay } = decision;
      for (const change of decision.equivalences.slice(equivalencesOf(reading, keys).length)) {
        log.warn("this run is equivalent, not bit-exact, from here on", { change });
      }
      if (replay?.generation === forming.generation) {
        log.error("steps are void and replayed", { from: replay.from.step, reason: replay.reason });
      }
      const members = memberIds(forming).join(" ");
      log.info("forming", { generation: forming.generation, members, reason: forming.reason });
      return;
    }
    case "run": {
      const { generation, members, source, origin } = decision.running;
      const { step, epoch } = source.kind === "seed" ? { step: 0, epoch: 0 } : source.state;
      log.info("running", { generation, world: members.length, source: describeSource(source), step, epoch });
      if (origin.lineage === reading.origin.lineage) return;
      const { lineage, from, reason } = origin;
      log.error("what was published cannot be gone on from; a new lineage begins", {
        ...{ lineage, step: from?.state.step ?? 0, reason },
      });
      return;
    }
    case "refuse":
      log.warn("refused", { worker: decision.workerId, reason: decision.reason });
      return;
    case "stop":
      log.info("stopping", { reason: decision.reason });
      return;
    case "fail":
      log.error("the run cannot go on", { reason: decision.reason });
      return;
  }
}

/** Waiting is no news, unless a person has to do something, or nothing is left to be done. */
export function tellWait(
  log: Log,
  { reason, needsHelp }: Extract<Decision, { kind: "wait" }>,
  /** How the run has ended; null: it has not. */
  done: Done | null,
): void {
  if (done) log.info(reason, { reason: done.early ?? "all epochs are trained" });
  else log[needsHelp ? "warn" : "debug"](reason);
}
