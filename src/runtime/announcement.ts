/**
 * A worker's key in etcd: that it is there, wants in, or wants to leave. It lives by a lease, and a living worker whose
 * lease was lost, because etcd was away, takes a new one: its steps never stop for that.
 */
import { assert, LockstepError, messageOf } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Member } from "../core/membership.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { JobRecord } from "../core/records.ts";
import type { Clock } from "../ports/clock.ts";
import type { Condition, Coordination, Lease, Operation } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { patiently } from "./patience.ts";
import { unchanged } from "./run-view.ts";

export interface AnnouncementOptions {
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly clock: Clock;
  readonly log: Log;
  /** The highest generation that the worker has read of; announced whenever something is. */
  readonly seen: () => number;
  /** What of its own checkpoints etcd does not name; announced likewise. */
  readonly brings: () => Promise<readonly string[]>;
  /** Whether the worker still belongs there; asked before a lost lease is replaced. */
  readonly mayReturn: () => Promise<boolean>;
}

export class Announcement {
  readonly #options: AnnouncementOptions;
  readonly #ended = new AbortController();
  #member: Member;
  #lease: Lease | null = null;
  #kept: Promise<void> = Promise.resolve();
  /** The revision at which the key was last seen; null when it was not there. */
  #writtenAt: number | null = null;
  #wasThere = false;
  /** Writes follow each other, so that the last one stays. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: AnnouncementOptions, member: Member) {
    this.#options = options;
    this.#member = member;
  }

  get member(): Member {
    return this.#member;
  }

  get lease(): Lease {
    assert(this.#lease !== null, "an admitted worker has announced itself");
    return this.#lease;
  }

  /**
   * False, and nothing is announced, when the run was started anew since the worker was opened: that start may go on to other epochs, by
   * other rules, and this worker would end too early, or compute another learning rate than the others.
   */
  async begin(): Promise<boolean> {
    if (!(await this.#announceUnderNewLease())) return false;
    this.#kept = this.#keep();
    return true;
  }

  /** Changes what is announced; waits for etcd as long as this admission lasts. */
  async change(changes: Partial<Member>): Promise<void> {
    this.#member = { ...this.#member, ...changes };
    const { clock, log, budget } = this.#options;
    const { signal } = this.#ended;
    // With the lease of that moment: a lost one is replaced meanwhile, and what is announced then has the changes too.
    const write = async () => {
      if (this.lease.isHeld()) await this.#write(this.lease);
    };
    await patiently({ clock, log, pauseMs: budget.pollMs / 4, signal }, "announcing a change", write);
  }

  /** Changes what is announced, if it is not so already; nobody waits for that. */
  note(changes: Partial<Pick<Member, "hasState" | "stepMs">>): void {
    const isNews = Object.entries(changes).some(([key, value]) => this.#member[key as keyof Member] !== value);
    if (isNews) this.#soon(changes);
  }

  /** Writes the key once more: it may be an older one, or gone though its lease is there. Nobody waits for that. */
  repeat(changes: Partial<Pick<Member, "trainedIn">>): void {
    this.#soon(changes);
  }

  #soon(changes: Partial<Member>): void {
    const { log } = this.#options;
    this.change(changes).catch((error: unknown) => log.debug("not announced", { error: messageOf(error) }));
  }

  /** Takes the key away if nothing was decided since the generation key was read; false when it was, or may have been. */
  async withdrawUnlessDecided(generation: { readonly modRevision: number } | null): Promise<boolean> {
    const { coordination, keys } = this.#options;
    const unchanged: Condition = generation
      ? { kind: "modified-at", key: keys.generation, revision: generation.modRevision }
      : { kind: "absent", key: keys.generation };
    const deleted: Operation = { kind: "delete", key: keys.member(this.#member.workerId) };
    return (await coordination.transact([unchanged], [deleted]).catch(() => null))?.succeeded ?? false;
  }

  /** Takes the key away; best effort, since the lease ends anyway. */
  async withdraw(): Promise<void> {
    this.#ended.abort();
    // An announcement under a new lease may be on its way, and would stay there.
    await this.#kept;
    const { coordination, keys } = this.#options;
    const key = keys.member(this.#member.workerId);
    await coordination.transact([], [{ kind: "delete", key }]).catch(() => undefined);
    await this.#lease?.revoke();
  }

  async #announceUnderNewLease(): Promise<boolean> {
    const { coordination, budget, clock, log } = this.#options;
    const { signal } = this.#ended;
    return await patiently({ clock, log, pauseMs: budget.pollMs / 4, signal }, "announcing this worker", async () => {
      const lease = await coordination.grantLease(budget.leaseTtlMs);
      try {
        if (!(await this.#write(lease))) {
          await lease.revoke();
          return false;
        }
      } catch (error) {
        const wasHeld = lease.isHeld();
        void lease.revoke();
        if (wasHeld) throw error;
        // As after a sleep of this process: it is tried again under another one.
        throw new LockstepError("coordination-unavailable", "The lease was over before anything was written under it.");
      }
      this.#lease = lease;
      return true;
    });
  }

  /** False when the key was never there, and the run was started anew. */
  #write(lease: Lease): Promise<boolean> {
    const { coordination, keys } = this.#options;
    const key = keys.member(this.#member.workerId);
    const write = async () => {
      // Compared, since a request that comes late would put the key back under a lease that ends.
      for (;;) {
        const asBefore: Condition =
          this.#writtenAt === null ? { kind: "absent", key } : { kind: "modified-at", key, revision: this.#writtenAt };
        const sameStart = await this.#sameStart();
        if (sameStart === null) return false;
        const brings = await this.#options.brings();
        const member: Member = { ...this.#member, brings, seen: this.#options.seen() };
        const put: Operation = { kind: "put", key, value: encodeJson(member), lease };
        const { succeeded, revision } = await coordination.transact([asBefore, ...sameStart], [put]);
        this.#writtenAt = succeeded ? revision : ((await coordination.get(key))?.modRevision ?? null);
        if (!succeeded) continue;
        this.#wasThere = true;
        return true;
      }
    };
    const written = this.#writing.then(write);
    this.#writing = written.then(
      () => undefined,
      () => undefined,
    );
    return written;
  }

  /**
   * That no other start is made before the key is there for the first time; null when one was made. A lower one is of a run that was
   * rebuilt from its checkpoints, and goes on as it was. Once the key is there, the later start waits until it has gone.
   */
  async #sameStart(): Promise<Condition[] | null> {
    // Who has trained comes back under another id, and may be the only one who has the state that all go on from.
    if (this.#wasThere || this.#member.trainedIn > 0) return [];
    const { coordination, keys } = this.#options;
    const record = await coordination.get(keys.record);
    if (record && decodeJson<JobRecord>(record.value).start > this.#member.start) return null;
    return [unchanged(keys.record, record)];
  }

  async #keep(): Promise<void> {
    const { log, mayReturn } = this.#options;
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await eitherAborted(this.lease.lost, signal);
      if (signal.aborted || !(await mayReturn())) return;
      log.info("the lease on the membership was lost; announcing again", { worker: this.#member.workerId });
      await this.#announceUnderNewLease().catch((error: unknown) => {
        if (!signal.aborted) log.error("announcing again failed", { error: messageOf(error) });
      });
    }
  }
}

function eitherAborted(one: AbortSignal, other: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (one.aborted || other.aborted) resolve();
    one.addEventListener("abort", () => resolve(), { once: true });
    other.addEventListener("abort", () => resolve(), { once: true });
  });
}
