/**
 * The coordinator: forms generations and tells what is going on. Several may run; the one that holds the coordinator
 * key is active, and every change it makes compares that key's create revision. It reads everything from etcd, asks the
 * pure `decide` what to do, does it in one transaction, and reads again. Losing it stops nothing until the membership
 * has to change.
 */
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Divergence, Replay } from "../core/divergence.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import type { ClusterView, Eviction } from "../core/decision.ts";
import { decide } from "../core/generation.ts";
import { causeOf, type GenerationCause } from "../core/generation-cause.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { Running } from "../core/membership.ts";
import { type CoordinatorRecord, type Done, type Ending, isFor, type JobRecord } from "../core/records.ts";
import type { CheckpointPointer, ClusterStatus } from "../core/status.ts";
import type { RunSources } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Condition, Coordination, Entry, Lease } from "../ports/coordination.ts";
import type { Liveness } from "../ports/liveness.ts";
import type { Log } from "../ports/log.ts";
import { AbsentMembers } from "./absent-members.ts";
import { FormingPatience } from "./forming-patience.ts";
import { goneAmong } from "./gone-members.ts";
import { clusterStatus, placeOf, type WorkerProgress } from "./cluster-status.ts";
import { type BroughtSources, bringersIn } from "./brought-checkpoints.ts";
import { type Act, tellDecision, tellWait } from "./decision-log.ts";
import { bestLeft, bestSoFar, conditionsOf, equivalencesOf, operationsOf } from "./decision-operations.ts";
import { LastGeneration } from "./last-generation.ts";
import { isStopping, litterOf, published, type RunReading, readValue } from "./run-reading.ts";
import { type RunArchive, hasLostData, rebuildRun } from "./rebuild-run.ts";
import { ReportedProgress } from "./reported-progress.ts";
import { RunReader } from "./run-reader.ts";
import { requestStop } from "./request-stop.ts";
import { sweep, sweptAtOnce } from "./sweep.ts";
import { Timeline } from "./timeline.ts";

export interface CoordinatorOptions {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly log: Log;
  readonly self: CoordinatorRecord;
  readonly liveness: Liveness;
  /** Where this process sees the checkpoints, for when etcd loses its data; null where it does not. */
  readonly archive: RunArchive | null;
  readonly brought: BroughtSources;
  /** A generation is formed. */
  readonly onFormed?: (cause: GenerationCause) => void;
  /** It runs. */
  readonly onRunning?: (running: Running, formingMs: number) => void;
}

/** Between taking over from one coordinator that is gone and from the next, growing: who is mistaken does no harm. */
const firstTakeoverPauseMs = 250;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #progress: ReportedProgress;
  readonly #reader: RunReader;
  readonly #last = new LastGeneration();
  readonly #timeline: Timeline;
  readonly #patience: FormingPatience;
  #lease: Lease | null = null;
  #reading: RunReading | null = null;
  #reason = "starting";
  /** The suspicions that were looked at last. */
  #heard = "";
  #forming: { generation: number; sinceMs: number } | null = null;
  #active: { token: number; sinceMs: number } | null = null;
  /** When etcd was last found out of reach. */
  #troubledMs = Number.NEGATIVE_INFINITY;
  /** While standing by: the active coordinator, by its lease, and the watch on its process. Its token may come again. */
  #watched: { leaseId: string; watch: { close(): void } } | null = null;
  #takeovers = 0;
  readonly #absent: AbsentMembers;
  #closed = new AbortController();
  #wake: () => void = () => {};
  #onEmpty: (() => void) | null = null;
  /** As the last member said; for people. */
  #stepsPerEpoch = 0;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#reader = new RunReader(options.coordination, options.keys);
    this.#patience = new FormingPatience(options.budget.formingMs);
    this.#timeline = new Timeline(options.keys);
    this.#progress = new ReportedProgress(options.clock);
    this.#absent = new AbsentMembers(options.clock, options.liveness, () => this.#wake());
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
    let isTroubled = false;
    try {
      while (!signal.aborted) {
        const hint = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        try {
          const hasChanged = await this.#turn();
          isTroubled = false;
          if (hasChanged) continue;
        } catch (error) {
          // Said once, however often it is tried before etcd is back.
          log[isTroubled ? "debug" : "warn"]("a turn failed and is taken again", { error: messageOf(error) });
          isTroubled = true;
          this.#troubledMs = clock.monotonicMs();
          this.#absent.lookAnew();
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
      this.#standBy(null);
      this.#absent.close();
      await this.#lease?.revoke();
    }
  }

  noteProgress(progress: WorkerProgress): void {
    this.#progress.note(progress);
  }

  /** Calls back once no worker of this process' start, or of an earlier one, is there any more. */
  whenEmpty(then: () => void): void {
    this.#onEmpty = then;
    this.#wake();
  }

  /** Asks all who are there to stop. */
  async requestStop(reason: string): Promise<void> {
    await requestStop(this.#options, this.record.start, reason);
  }

  /** Asks those to stop who were started with this coordinator, or before; not those of a start that followed. */
  async requestStopOfThisStart(reason: string): Promise<void> {
    await requestStop(this.#options, this.#options.record.start, reason);
  }

  /** What the run is, as etcd has it: a later start may have changed it. */
  get record(): JobRecord {
    const { record, keys } = this.#options;
    return (this.#reading && readValue<JobRecord>(this.#reading.entries, keys.record)) ?? record;
  }

  /** Everything as it was read last. "coordination-unavailable": nothing was read yet. */
  get reading(): RunReading {
    if (this.#reading) return this.#reading;
    throw new LockstepError("coordination-unavailable", "The coordinator has not read the run's state yet.");
  }

  /** One look at everything and at most one change; true when something was changed. */
  async #turn(): Promise<boolean> {
    const { coordination, keys, log } = this.#options;
    const reading = await this.#reader.read();
    this.#reading = reading;
    this.#progress.forget(reading);
    this.#last.read(reading, coordination.rollbacks);
    this.#stepsPerEpoch = reading.members[0]?.stepsPerEpoch ?? this.#stepsPerEpoch;
    if (!reading.members.some(({ start }) => start <= this.#options.record.start)) this.#onEmpty?.();
    const token = await this.#electedToken(reading);
    if (token === null) return false;
    if (hasLostData(reading, keys, this.#last.number)) return this.#rebuild(token, this.#options.archive);
    const view = this.#viewOf(reading, token);
    const decision = decide(view);
    if (decision.kind === "wait") {
      this.#say(decision.reason, () => tellWait(log, decision, readValue<Done>(reading.entries, keys.done)));
      return false;
    }
    if (decision.kind === "rebuild") {
      this.#say(decision.reason);
      return this.#rebuild(token, this.#options.brought(bringersIn(reading, keys, this.record)), true);
    }
    if (decision.kind === "form" && (await this.#looksAtSuspects(decision.evicted, reading))) return true;
    return this.#act(decision, reading, token, view);
  }

  /**
   * Before somebody is left out for broken links, those who are suspected are looked at. If some are gone, their leases
   * end now, and everything is read again: a survivor of several deaths has more broken links than any of the dead. If
   * they live, a link is broken of which both ends may be about to tell: the decision is taken when nothing more was said
   * for a moment. True when everything is to be read again.
   */
  async #looksAtSuspects(evicted: readonly Eviction[], reading: RunReading): Promise<boolean> {
    const { coordination, keys, liveness, clock, budget, log } = this.#options;
    const { suspicions, members, entries, generation } = reading;
    const said = JSON.stringify([generation?.generation, suspicions.map(({ suspect, by }) => [suspect, by])]);
    const suspects = members.filter(({ workerId }) => suspicions.some(({ suspect }) => suspect === workerId));
    if (evicted.length === 0 || suspects.length === 0 || said === this.#heard) return false;
    this.#heard = said;
    const gone = await goneAmong(suspects, liveness, clock, budget.watchMs);
    if (evicted.every(({ workerId }) => gone.includes(workerId))) return false;
    for (const workerId of gone) {
      const leaseId = entries.get(keys.member(workerId))?.leaseId;
      log.info("a member is gone; its lease ends now", { member: workerId });
      if (leaseId) await coordination.revokeLease(leaseId);
    }
    return true;
  }

  /** There is what etcd knows nothing of: its data were lost, or an older copy was put back. */
  async #rebuild(token: number, archive: RunSources | null, fromBrought = false): Promise<true> {
    const { coordination, keys, log } = this.#options;
    const record = { ...this.record, start: Math.max(this.record.start, this.#options.record.start) };
    const active: Condition = { kind: "created-at", key: keys.coordinator, revision: token };
    const { job, run } = record;
    const parts = { coordination, job, run, record, wishes: record, archive, fromBrought, seen: this.#last.number };
    const { succeeded, notices } = await rebuildRun({ ...parts, conditions: [active] });
    if (succeeded) for (const notice of notices) log.error(notice);
    return true;
  }

  /** This coordinator's fencing token while it is active, else null. */
  async #electedToken(reading: RunReading): Promise<number | null> {
    const { coordination, keys, budget, self, log } = this.#options;
    if (!this.#lease?.isHeld()) this.#lease = await coordination.grantLease(budget.leaseTtlMs);
    const entry = reading.entries.get(keys.coordinator);
    const isOther = entry !== undefined && entry.leaseId !== this.#lease.id;
    this.#standBy(isOther ? entry : null);
    if (entry) return isOther ? null : entry.createRevision;
    const { succeeded, revision } = await coordination.transact(
      [{ kind: "absent", key: keys.coordinator }],
      [{ kind: "put", key: keys.coordinator, value: encodeJson(self), lease: this.#lease }],
    );
    if (!succeeded) return null;
    log.info("active coordinator", { token: revision });
    return revision;
  }

  /**
   * Watches the process of the active coordinator. Once it is gone its lease is revoked, so that nobody has to wait for
   * the end of it; should it be alive after all, it is fenced by its token, and stands by like any other.
   */
  #standBy(active: Entry | null): void {
    if (this.#watched?.leaseId === (active?.leaseId ?? undefined)) return;
    this.#watched?.watch.close();
    this.#watched = null;
    const leaseId = active?.leaseId;
    if (!active || !leaseId) return;
    const { coordination, liveness, log, clock } = this.#options;
    const { address } = decodeJson<CoordinatorRecord>(active.value);
    const takeOver = async () => {
      const pauseMs = this.#takeovers === 0 ? 0 : firstTakeoverPauseMs * 2 ** (this.#takeovers - 1);
      this.#takeovers++;
      if (pauseMs > 0) await clock.sleep(pauseMs, this.#closed.signal);
      log.info("the active coordinator is gone", { address, token: active.createRevision });
      await coordination.revokeLease(leaseId);
      this.#wake();
    };
    const watch = liveness.watch(address, () => {
      takeOver().catch((error: unknown) => log.debug("its lease runs out by itself", { error: messageOf(error) }));
    });
    this.#watched = { leaseId, watch };
  }

  #viewOf(reading: RunReading, token: number): ClusterView {
    const { keys, budget, clock } = this.#options;
    const record = this.record;
    const { generation, entries } = reading;
    if (this.#active?.token !== token) {
      this.#active = { token, sinceMs: clock.monotonicMs() };
      this.#absent.lookAnew();
    }
    if (generation?.kind !== "forming") this.#forming = null;
    else if (this.#forming?.generation !== generation.generation) {
      this.#forming = { generation: generation.generation, sinceMs: clock.monotonicMs() };
    }
    const activeMs = clock.monotonicMs() - this.#active.sinceMs;
    const isAfterLoss = !generation && reading.origin.after > 0;
    const absent = this.#last.absent(reading, keys);
    const unsure = this.#absent.note(absent, isAfterLoss ? budget.absenceAfterTroubleMs : this.#absenceMs());
    const latest = readValue<CheckpointPointer>(entries, keys.latest);
    const checkpoints = reading.checkpoints.map(published);
    return {
      coordinator: token,
      start: record.start,
      shards: record.shards,
      workers: record.workers,
      fingerprint: readValue<Fingerprint>(entries, keys.fingerprint),
      mayChange: record.mayChange,
      equivalences: equivalencesOf(reading, keys),
      settled: activeMs > budget.formingMs,
      members: reading.members,
      unsure: generation ? unsure : new Set(),
      mayReturn: isAfterLoss && (unsure.size > 0 || (this.#last.number === 0 && activeMs <= budget.leaseTtlMs)),
      bringers: [...new Set(bringersIn(reading, keys, record).map(({ name }) => name))],
      isAskedFor: record.isAskedFor,
      refused: reading.refused,
      generation,
      reports: reading.reports,
      suspicions: reading.suspicions,
      divergence: generation && readValue<Divergence>(entries, keys.divergence(generation.generation)),
      replay: readValue<Replay>(entries, keys.replay),
      origin: reading.origin,
      earlier: reading.earlier,
      latest: latest && (checkpoints.find(({ id }) => id === latest.id) ?? published({ pointer: latest })),
      checkpoints,
      best: bestSoFar(bestLeft(reading, keys)),
      done: entries.has(keys.done),
      failed: isFor(readValue<Ending>(entries, keys.failed), record.start),
      stopRequested: isStopping(reading, keys, record.start),
      formingForMs: this.#forming ? clock.monotonicMs() - this.#forming.sinceMs : 0,
      formingLimitMs: this.#patience.limitMs(clock.monotonicMs()),
    };
  }

  /** Of what was before it became active this coordinator knows nothing. */
  #absenceMs(): number {
    const { budget, clock } = this.#options;
    const steadyMs = clock.monotonicMs() - Math.max(this.#troubledMs, this.#active?.sinceMs ?? 0);
    return steadyMs > 2 * budget.budgetMs ? budget.absenceMs : budget.absenceAfterTroubleMs;
  }

  /** Carries a decision out in one transaction that only the active coordinator can win. */
  async #act(decision: Act, reading: RunReading, token: number, view: ClusterView): Promise<boolean> {
    const { coordination, keys, clock, log } = this.#options;
    const active: Condition = { kind: "created-at", key: keys.coordinator, revision: token };
    const conditions = [active, ...conditionsOf(decision, reading, keys)];
    const operations = [
      ...operationsOf(decision, reading, keys, this.record.start),
      ...this.#timeline.operationsOf(decision, reading, clock.wallMs()),
    ];
    const { succeeded } = await coordination.transact(conditions, operations);
    if (!succeeded) return true; // something changed meanwhile: look again
    const reason = "reason" in decision ? decision.reason : decision.forming.reason;
    this.#say(reason);
    tellDecision(log, decision, reading, keys);
    if (decision.kind === "form") {
      this.#last.formed(decision.forming);
      if (view.formingForMs > view.formingLimitMs) this.#patience.late(clock.monotonicMs());
      this.#options.onFormed?.(causeOf(view, decision));
      await sweep(coordination, active, litterOf(reading, keys).slice(sweptAtOnce));
    }
    if (decision.kind === "run") this.#options.onRunning?.(decision.running, view.formingForMs);
    return true;
  }

  /** A reason is said once, when it changes. */
  #say(reason: string, tell = () => this.#options.log.debug(reason)): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    tell();
  }

  /** How this process itself is doing; null for what it does not have, or does not know. */
  vitals(): { isActive: boolean; leaseRemainingMs: number | null; latestWrittenAtMs: number | null } {
    const { keys, self } = this.#options;
    const reading = this.#reading;
    const active = reading && readValue<CoordinatorRecord>(reading.entries, keys.coordinator);
    const latest = reading && readValue<CheckpointPointer>(reading.entries, keys.latest);
    const written = reading?.checkpoints.find(({ pointer }) => pointer.id === latest?.id);
    return {
      isActive: active?.address === self.address,
      leaseRemainingMs: this.#lease?.remainingMs() ?? null,
      latestWrittenAtMs: written?.writtenAtMs ?? null,
    };
  }

  /** Where the run stands; null before anything was read. */
  get place(): ReturnType<typeof placeOf> | null {
    return this.#reading && placeOf(this.#reading, this.#options.keys, this.#progress.told().progresses);
  }

  /** Whether there is a status. */
  get hasRead(): boolean {
    return this.#reading !== null;
  }

  /** What the run is doing, from what was read last. */
  status(): ClusterStatus {
    const { keys, self } = this.#options;
    return clusterStatus({
      ...{ record: this.record, keys, self, reading: this.reading },
      lease: this.#lease,
      reason: this.#reason,
      stepsPerEpoch: this.#stepsPerEpoch,
      ...this.#progress.told(),
    });
  }
}
