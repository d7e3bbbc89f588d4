/**
 * Members of the current generation whose keys are not there. An expired lease is a suspicion and no proof: an etcd that
 * was away lets leases end, and a living member writes its key again. So they count as members for a while longer, unless
 * their processes are known to be gone.
 */
import type { Clock } from "../ports/clock.ts";
import type { Liveness } from "../ports/liveness.ts";

interface Absence {
  sinceMs: number;
  readonly watch: { close(): void };
  gone: boolean;
}

export class AbsentMembers {
  readonly #clock: Clock;
  readonly #liveness: Liveness;
  /** Called when the process of one of them turns out to be gone. */
  readonly #onGone: () => void;
  readonly #absences = new Map<string, Absence>();

  constructor(clock: Clock, liveness: Liveness, onGone: () => void) {
    this.#clock = clock;
    this.#liveness = liveness;
    this.#onGone = onGone;
  }

  /** Takes note of who is absent now; returns those of them that may be alive: whose keys have been gone for `limitMs` at most. */
  note(
    absent: readonly { readonly workerId: string; readonly address: string }[],
    limitMs: number,
  ): ReadonlySet<string> {
    for (const [workerId, { watch }] of this.#absences) {
      if (absent.some((member) => member.workerId === workerId)) continue;
      watch.close();
      this.#absences.delete(workerId);
    }
    const nowMs = this.#clock.monotonicMs();
    for (const { workerId, address } of absent) {
      if (!this.#absences.has(workerId)) this.#absences.set(workerId, this.#watch(workerId, address, nowMs));
    }
    const mayLive = ([, { gone, sinceMs }]: [string, Absence]) => !gone && nowMs - sinceMs <= limitMs;
    return new Set([...this.#absences].filter(mayLive).map(([workerId]) => workerId));
  }

  /** Nobody was looking for a while: whoever is absent now may have been there in between. */
  lookAnew(): void {
    for (const absence of this.#absences.values()) absence.sinceMs = this.#clock.monotonicMs();
  }

  close(): void {
    this.note([], 0);
  }

  #watch(workerId: string, address: string, sinceMs: number): Absence {
    const watch = this.#liveness.watch(address, () => {
      const absence = this.#absences.get(workerId);
      if (!absence) return;
      absence.gone = true;
      this.#onGone();
    });
    return { sinceMs, watch, gone: false };
  }
}
