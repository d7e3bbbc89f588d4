/** One process's client of the simulated etcd. */
import { setMaxListeners } from "node:events";
import { startHints } from "../../src/adapters/etcd/hints.ts";
import { KeptLease } from "../../src/adapters/etcd/lease.ts";
import { Rollbacks } from "../../src/adapters/etcd/rollbacks.ts";
import { keepWatching } from "../../src/adapters/etcd/watch.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { FailureBudget } from "../../src/core/failure-budget.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type {
  Condition,
  Coordination,
  Entry,
  Lease,
  Listing,
  Operation,
  Span,
  TransactionResult,
  Watch,
} from "../../src/ports/coordination.ts";
import type { Log } from "../../src/ports/log.ts";
import type { SimulatedEtcd } from "./etcd.ts";
import { SimulatedConnections } from "./etcd-watch.ts";
import { type Actor, slotOf, type World } from "./world.ts";

interface Request {
  readonly apply: () => unknown;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Requests that travel together. */
interface Packet {
  readonly event: number;
  readonly timeoutMs: number;
  readonly requests: Request[];
}

export interface EtcdClientOptions {
  readonly world: World;
  readonly etcd: SimulatedEtcd;
  readonly actor: Actor;
  readonly clock: Clock;
  readonly log: Log;
  readonly budget: FailureBudget;
  /** Sees every transaction as it is sent. */
  readonly onSend?: (then: readonly Operation[]) => void;
}

export class SimulatedEtcdClient implements Coordination {
  readonly #options: EtcdClientOptions;
  readonly #closed = new AbortController();
  readonly #leases = new Map<string, KeptLease>();
  readonly #connections: SimulatedConnections;
  readonly #rollbacks = new Rollbacks();
  #packet: Packet | null = null;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
    const { world, etcd, actor } = options;
    const probe = () => this.#call(() => null);
    this.#connections = new SimulatedConnections({ world, etcd, actor, probe, delayMs: () => this.#delayMs() });
    // One listener a watch; Node would take the eleventh for a leak.
    setMaxListeners(0, this.#closed.signal);
  }

  get rollbacks(): number {
    return this.#rollbacks.count;
  }

  get(key: string): Promise<Entry | null> {
    return this.#read(() => this.#options.etcd.store.get(key));
  }

  read(keys: readonly string[]): Promise<ReadonlyMap<string, Entry>> {
    const { store } = this.#options.etcd;
    return this.#read(() => {
      const entries = keys.flatMap((key) => store.get(key) ?? []);
      return new Map(entries.map((entry) => [entry.key, entry]));
    });
  }

  list(prefix: string, known: readonly Span[] = []): Promise<Listing> {
    return this.#read(() => this.#options.etcd.store.list(prefix, known));
  }

  async transact(conditions: readonly Condition[], then: readonly Operation[]): Promise<TransactionResult> {
    const leases = then.flatMap((operation) => (operation.kind === "put" ? (operation.lease ?? []) : []));
    for (const lease of leases) if (!lease.isHeld()) throw fenced(lease.id);
    this.#options.onSend?.(then);
    try {
      return await this.#call(() => this.#options.etcd.transact(this.#options.actor.name, conditions, then));
    } catch (error) {
      if (error instanceof LockstepError && error.code === "fenced-off") {
        for (const lease of leases) this.#leases.get(lease.id)?.lose("etcd no longer knows it");
      }
      throw error;
    }
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    const { clock, log, etcd, budget } = this.#options;
    const sentAtMs = clock.monotonicMs();
    const id = await this.#call(() => etcd.grant(ttlMs));
    const lease = new KeptLease({
      ...{ id, ttlMs, sentAtMs, clock, log },
      marginMs: budget.leaseMarginMs,
      renew: (timeoutMs) => this.#call(() => etcd.store.renew(id), timeoutMs),
      revoke: () => this.#call(() => etcd.store.revoke(id)),
    });
    this.#leases.set(id, lease);
    lease.lost.addEventListener("abort", () => this.#leases.delete(id));
    if (this.#closed.signal.aborted) lease.end("the client was closed");
    return lease;
  }

  revokeLease(leaseId: string): Promise<void> {
    return this.#call(() => this.#options.etcd.store.revoke(leaseId));
  }

  watch(prefix: string, pollMs: number, onHint: () => void): Watch {
    const { clock, log, etcd, actor } = this.#options;
    const closed = new AbortController();
    const signal = AbortSignal.any([closed.signal, this.#closed.signal]);
    etcd.wantWatches(actor, 1);
    signal.addEventListener("abort", () => etcd.wantWatches(actor, -1), { once: true });
    const hint = startHints({ clock, pollMs, onHint, signal });
    void keepWatching({ connections: this.#connections, prefix, hint, clock, log, signal });
    return { close: () => closed.abort() };
  }

  async close(): Promise<void> {
    this.#closed.abort();
    for (const lease of [...this.#leases.values()]) lease.end("the client was closed");
  }

  #read<T>(apply: () => T): Promise<T> {
    this.#options.etcd.counts.reads++;
    return this.#call(apply);
  }

  async #call<T>(apply: () => T, timeoutMs = this.#options.budget.requestTimeoutMs): Promise<T> {
    const { store } = this.#options.etcd;
    const note = this.#rollbacks.sent();
    const answered = await this.#request(() => {
      // As the first question on a new connection, which comes before everything else.
      const first = store.moment;
      return { first, value: apply(), last: store.moment };
    }, timeoutMs);
    note(answered.first);
    note(answered.last);
    return answered.value;
  }

  #request<T>(apply: () => T, timeoutMs: number): Promise<T> {
    if (this.#closed.signal.aborted) return Promise.reject(unavailable("this client was closed"));
    return new Promise<T>((resolve, reject) => {
      const { world, etcd } = this.#options;
      let packet = this.#packet;
      // What is asked at one moment mostly arrives at one moment; not always, or nobody would test that it need not.
      if (packet?.event !== world.events || packet.timeoutMs !== timeoutMs || etcd.chance.is(0.1)) {
        packet = { event: world.events, timeoutMs, requests: [] };
        this.#packet = packet;
        this.#send(packet);
      }
      packet.requests.push({ apply, resolve, reject });
    });
  }

  #send({ requests, timeoutMs }: Packet): void {
    const { world, etcd, actor } = this.#options;
    const { chance, weather } = etcd;
    const link = etcd.linkOf(slotOf(actor));
    let isAnswered = false;
    const answer = (tell: (request: Request, i: number) => void) => {
      world.cancel(timer);
      if (isAnswered) return;
      isAnswered = true;
      requests.forEach(tell);
    };
    const fail = (reason: string) => {
      if (!isAnswered) this.#connections.failed();
      answer(({ reject }) => reject(unavailable(reason)));
    };
    let timer = world.after(timeoutMs, actor, () => fail(`no answer within ${Math.round(timeoutMs)} ms`));
    // A broken connection is noticed at once, a silent one only by its deadline.
    const failEarly = (reason: string) => {
      if (isAnswered || !chance.is(0.5)) return;
      world.cancel(timer);
      timer = world.after(chance.between(1, 40), actor, () => fail(reason));
    };
    const arrive = () => {
      const answersAtMs = etcd.answersAtMs;
      if (answersAtMs === null) {
        failEarly("etcd went down");
        return;
      }
      if (answersAtMs > world.nowMs) {
        world.at(answersAtMs + chance.between(0, 5), null, arrive);
        return;
      }
      const answers = requests.map(({ apply }) => attempt(apply));
      if (!link.from) return;
      if (chance.is(weather.replyLost)) {
        failEarly("the connection broke");
        return;
      }
      world.after(this.#delayMs(), actor, () =>
        answer(({ resolve, reject }, i) => {
          const answer = answers[i]!;
          if ("error" in answer) reject(answer.error);
          else resolve(answer.value as never); // what its own `apply` returned
        }),
      );
    };
    if (etcd.answersAtMs === null) {
      failEarly("etcd is down");
      return;
    }
    if (!link.to) return;
    if (chance.is(weather.requestLost)) {
      failEarly("the connection broke");
      return;
    }
    const late = chance.is(weather.requestLate);
    world.after(late ? timeoutMs + chance.between(0, 3000) : this.#delayMs(), null, arrive);
  }

  #delayMs(): number {
    const { chance } = this.#options.etcd;
    return chance.is(0.03) ? chance.between(2, 40) : chance.between(0.2, 1.5);
  }
}

function attempt(apply: () => unknown): { value: unknown } | { error: unknown } {
  try {
    return { value: apply() };
  } catch (error) {
    return { error };
  }
}

function unavailable(reason: string): LockstepError {
  return new LockstepError("coordination-unavailable", `etcd gave no answer: ${reason}.`);
}

function fenced(lease: string): LockstepError {
  return new LockstepError("fenced-off", `The lease ${lease} is over.`);
}
