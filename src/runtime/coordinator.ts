/**
 * The coordinator: forms generations and tells what is going on. Several may run; the one that holds the coordinator
 * key is active, and every change it makes compares that key's create revision. It reads everything from etcd, asks the
 * pure `decide` what to do, does it in one transaction, and reads again. Losing it stops nothing until the membership
 * has to change.
 */
import { LockstepError, messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import { type ClusterView, type Decision, decide } from "../core/generation.ts";
import { encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { CoordinatorRecord, Equivalences, JobRecord, LeaderRecord, Refusal } from "../core/records.ts";
import type { CheckpointPointer, ClusterStatus } from "../core/status.ts";
import type { Clock } from "../ports/clock.ts";
import type { Condition, Coordination, Lease, Operation } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { clusterStatus, type WorkerProgress } from "./cluster-status.ts";
import { type RunReading, readRun, readValue } from "./run-reading.ts";

export interface CoordinatorOptions {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly log: Log;
  readonly self: CoordinatorRecord;
}

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #progress = new Map<string, WorkerProgress>();
  #lease: Lease | null = null;
  #reading: RunReading | null = null;
  #reason = "starting";
  #forming: { generation: number; sinceMs: number } | null = null;
  #closed = new AbortController();
  #wake: () => void = () => {};
  #onEmpty: (() => void) | null = null;
  /** As the last member said; for people. */
  #stepsPerEpoch = 0;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  /** Stands for election, and decides while it is active; until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { coordination, keys, budget, clock, log } = this.#options;
    const watch = coordination.watch(keys.prefix, budget.pollMs, () => this.#wake());
    const onAbort = () => {
      this.#closed.abort();
      this.#wake();
    };
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        const hint = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        try {
          if (await this.#turn()) continue;
        } catch (error) {
          log.warn("a turn failed and is taken again", { error: messageOf(error) });
          await clock.sleep(budget.pollMs, this.#closed.signal).catch(() => undefined);
          continue;
        }
        // A deadline may pass without any key changing.
        const timer = new AbortController();
        await Promise.race([hint, clock.sleep(budget.pollMs, timer.signal).catch(() => undefined)]);
        timer.abort();
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      watch.close();
      await this.#lease?.revoke();
    }
  }

  noteProgress(progress: WorkerProgress): void {
    this.#progress.set(progress.workerId, progress);
  }

  /** Calls back once no worker is there any more. */
  whenEmpty(then: () => void): void {
    this.#onEmpty = then;
    this.#wake();
  }

  async requestStop(reason: string): Promise<void> {
    const { coordination, keys } = this.#options;
    await coordination.transact([{ kind: "absent", key: keys.stop }], [{ kind: "put", key: keys.stop, value: reason }]);
  }

  /** One look at everything and at most one change; true when something was changed. */
  async #turn(): Promise<boolean> {
    const { coordination, keys } = this.#options;
    const { entries } = await coordination.list(keys.prefix);
    const reading = readRun(entries, keys, this.#options.record.lineage);
    this.#reading = reading;
    this.#forgetProgress(reading);
    this.#stepsPerEpoch = reading.members[0]?.stepsPerEpoch ?? this.#stepsPerEpoch;
    if (reading.members.length === 0) this.#onEmpty?.();
    const token = await this.#electedToken(reading);
    if (token === null) return false;
    const decision = decide(this.#viewOf(reading, token));
    if (decision.kind === "wait") {
      this.#say(decision.reason);
      return false;
    }
    return this.#act(decision, reading, token);
  }

  /** This coordinator's fencing token while it is active, else null. */
  async #electedToken(reading: RunReading): Promise<number | null> {
    const { coordination, keys, budget, self, log } = this.#options;
    if (!this.#lease?.isHeld()) this.#lease = await coordination.grantLease(budget.leaseTtlMs);
    const entry = reading.entries.get(keys.coordinator);
    if (entry) return entry.leaseId === this.#lease.id ? entry.createRevision : null;
    const { succeeded, revision } = await coordination.transact(
      [{ kind: "absent", key: keys.coordinator }],
      [{ kind: "put", key: keys.coordinator, value: encodeJson(self), lease: this.#lease }],
    );
    if (!succeeded) return null;
    log.info("active coordinator", { token: revision });
    return revision;
  }

  #viewOf(reading: RunReading, token: number): ClusterView {
    const { record, keys, budget, clock } = this.#options;
    const { generation, entries } = reading;
    if (generation?.kind !== "forming") this.#forming = null;
    else if (this.#forming?.generation !== generation.generation) {
      this.#forming = { generation: generation.generation, sinceMs: clock.monotonicMs() };
    }
    const latest = readValue<CheckpointPointer>(entries, keys.latest);
    return {
      coordinator: token,
      shards: record.shards,
      workers: record.workers,
      fingerprint: readValue<Fingerprint>(entries, keys.fingerprint),
      mayChange: record.mayChange,
      equivalences: this.#equivalences(reading),
      members: reading.members,
      refused: reading.refused,
      generation,
      reports: reading.reports,
      suspicions: reading.suspicions,
      latest: latest && {
        id: latest.id,
        state: { lineage: latest.lineage, era: record.era, step: latest.step, digest: latest.stateDigest },
      },
      done: entries.has(keys.done),
      stopRequested: entries.has(keys.stop),
      formingForMs: this.#forming ? clock.monotonicMs() - this.#forming.sinceMs : 0,
      formingLimitMs: budget.formingMs,
    };
  }

  #equivalences({ entries }: RunReading): readonly string[] {
    return readValue<Equivalences>(entries, this.#options.keys.equivalences)?.reasons ?? [];
  }

  /** Carries a decision out in one transaction that only the active coordinator can win. */
  async #act(decision: Exclude<Decision, { kind: "wait" }>, reading: RunReading, token: number): Promise<boolean> {
    const { coordination, keys, log } = this.#options;
    const known = reading.entries.get(keys.generation);
    const conditions: Condition[] = [
      { kind: "created-at", key: keys.coordinator, revision: token },
      known
        ? { kind: "modified-at", key: keys.generation, revision: known.modRevision }
        : { kind: "absent", key: keys.generation },
    ];
    const operations = this.#operations(decision, reading);
    const { succeeded } = await coordination.transact(conditions, operations);
    if (!succeeded) return true; // something changed meanwhile: look again
    const reason = "reason" in decision ? decision.reason : decision.forming.reason;
    this.#say(reason);
    switch (decision.kind) {
      case "form":
        for (const change of decision.equivalences.slice(this.#equivalences(reading).length)) {
          log.warn("this run is equivalent, not bit-exact, from here on", { change });
        }
        log.info("forming", {
          generation: decision.forming.generation,
          members: decision.forming.members.join(" "),
          reason,
        });
        break;
      case "run":
        log.info("running", {
          generation: decision.running.generation,
          world: decision.running.members.length,
          source: describeSource(decision.running.source),
        });
        break;
      case "refuse":
        log.warn("refused", { worker: decision.workerId, reason });
        break;
      case "stop":
        log.info("stopping", { reason });
        break;
      case "fail":
        log.error("the run cannot go on", { reason });
    }
    return true;
  }

  #operations(decision: Exclude<Decision, { kind: "wait" }>, reading: RunReading): Operation[] {
    const { keys } = this.#options;
    const refusal = (workerId: string, value: Refusal): Operation => ({
      kind: "put",
      key: keys.refusal(workerId),
      value: encodeJson(value),
    });
    switch (decision.kind) {
      case "refuse":
        return [refusal(decision.workerId, { kind: "incompatible", reason: decision.reason })];
      case "form": {
        const leader = readValue<LeaderRecord>(reading.entries, keys.leader);
        const staying = leader && decision.forming.members.includes(leader.workerId);
        const old = reading.generation?.generation ?? 0;
        const equivalences: Equivalences = { reasons: decision.equivalences };
        const litter = [...reading.entries.keys()].filter(
          (key) =>
            key.startsWith(keys.reports(old)) ||
            key.startsWith(keys.suspicions(old)) ||
            key.startsWith(`${keys.prefix}arrive/${old}/`),
        );
        return [
          { kind: "put", key: keys.generation, value: encodeJson(decision.forming) },
          { kind: "put", key: keys.fingerprint, value: encodeJson(decision.fingerprint) },
          { kind: "put", key: keys.equivalences, value: encodeJson(equivalences) },
          ...decision.evicted.map(({ workerId, reason }) => refusal(workerId, { kind: "evicted", reason })),
          // Whoever is left out loses the leadership with the same stroke.
          ...(leader && !staying ? [{ kind: "delete" as const, key: keys.leader }] : []),
          // A transaction takes 128 operations; what is over stays until the next change.
          ...litter.slice(0, 64).map((key): Operation => ({ kind: "delete", key })),
        ];
      }
      case "run":
        return [{ kind: "put", key: keys.generation, value: encodeJson(decision.running) }];
      case "stop":
        return [{ kind: "put", key: keys.stop, value: decision.reason }];
      case "fail":
        return [{ kind: "put", key: keys.failed, value: decision.reason }];
    }
  }

  /** A reason is said once, when it changes. */
  #say(reason: string): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#options.log.debug(reason);
  }

  #forgetProgress(reading: RunReading): void {
    for (const workerId of this.#progress.keys()) {
      if (!reading.members.some((member) => member.workerId === workerId)) this.#progress.delete(workerId);
    }
  }

  /** What the run is doing, from what was read last. */
  status(): ClusterStatus {
    const { record, keys, self } = this.#options;
    const reading = this.#reading;
    if (!reading) {
      throw new LockstepError("coordination-unavailable", "The coordinator has not read the run's state yet.");
    }
    return clusterStatus({
      ...{ record, keys, self, reading },
      lease: this.#lease,
      progresses: [...this.#progress.values()],
      reason: this.#reason,
      stepsPerEpoch: this.#stepsPerEpoch,
    });
  }
}

function describeSource(source: { kind: string; workerId?: string; id?: string }): string {
  return source.workerId ?? source.id ?? source.kind;
}
