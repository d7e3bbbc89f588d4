/**
 * The state that a worker's process has: who stops the trainer, names what it stopped at, and replaces it. A report is a
 * promise, so a state is named only after the trainer has been frozen, and nothing changes it until it is thawed.
 */
import { LockstepError } from "../core/errors.ts";
import { encodeJson } from "../core/json.ts";
import { begun, type Origin } from "../core/origin.ts";
import { compareStates, type StateName } from "../core/state-order.ts";
import type { Assignment, Compute, ComputeInfo, RunOutcome } from "../ports/compute.ts";
import type { StateSnapshot } from "../ports/transport.ts";
import { bothDigestsOf, placeOf, progressIn } from "./state.ts";
import { StateMemory } from "./state-memory.ts";

type Layout = Pick<ComputeInfo, "weightCount" | "trainableCount" | "slotNames">;

/** A copy of the state, and its name. */
export interface NamedSnapshot {
  readonly name: StateName;
  readonly weightsDigest: string;
  readonly snapshot: StateSnapshot;
}

export class HeldState {
  readonly #compute: Compute;
  readonly layout: Layout;
  readonly #memory: StateMemory;
  #has = false;
  #freezing: Promise<void> | null = null;
  /** What it is frozen at; null while it trains, and when there is no state. */
  #frozen: NamedSnapshot | null = null;
  /** Under way to `#frozen`; a state that is replaced or trained on meanwhile does not become it. */
  #naming: Promise<NamedSnapshot> | null = null;
  /** What it trains on from, until the first step: a newcomer's copy need not wait for a computation, or for one that hangs. */
  #lent: NamedSnapshot | null = null;
  /** What was moved into a lineage or an era that begins with it, until the first step: it is what others are told to copy. */
  #begunFrom: NamedSnapshot | null = null;
  /** The last generation in which this was the generation's state; 0 when there was none. */
  trainedIn = 0;
  /** It goes back to a copy of a member's, and has not been compared with what others have. */
  isCopy = false;

  constructor(compute: Compute, layout: Layout) {
    this.#compute = compute;
    this.layout = layout;
    this.#memory = new StateMemory(layout.weightCount + layout.slotNames.length * layout.trainableCount);
  }

  /** Stops the trainer. Resolves when nothing of the generation is applied any more, which may take as long as a step. */
  freeze(): Promise<void> {
    this.#freezing ??= this.#compute.freeze().finally(() => {
      this.#freezing = null;
    });
    return this.#freezing;
  }

  /** The state that a frozen trainer stands at, or null when it has none. */
  async frozen(): Promise<NamedSnapshot | null> {
    if (!this.#has) return null;
    if (this.#frozen) return this.#frozen;
    this.#naming ??= this.#name();
    return this.#naming;
  }

  /** Whoever begins to train says so: the next copy, which training stands still for, takes less time then. */
  prepareCopies(): void {
    // Without the memory whoever takes a copy allocates it, and is told if there is none.
    this.#memory.prepare().catch(() => undefined);
  }

  /**
   * A copy of the state that the trainer rests at, without its name: to name it takes reading all of it. It is given back when it
   * is not needed any more.
   */
  resting(): Promise<StateSnapshot> {
    return this.#compute.snapshot(this.#memory.take());
  }

  giveBack({ values }: StateSnapshot): void {
    this.#memory.giveBack(values);
  }

  /** A copy for a peer, also while it trains. */
  async copy(): Promise<NamedSnapshot | null> {
    return this.#frozen ?? this.#lent ?? (this.#has ? await this.#namedCopy() : null);
  }

  /** A copy of the state that the generation names, for a member that lacks it and moves it itself. */
  async source(): Promise<NamedSnapshot | null> {
    return this.#begunFrom ?? this.copy();
  }

  /** It is reported to a generation as it is: what an earlier generation began from is no state that this one may name. */
  reported(): void {
    this.#begunFrom = null;
  }

  /** Whether this very state is held. */
  async is(other: StateName): Promise<boolean> {
    const own = (await this.frozen())?.name;
    return own !== undefined && compareStates(own, other) === 0 && own.digest === other.digest;
  }

  /** Takes the state that a run starts with. */
  async initialize(place: { lineage: number; era: number }): Promise<void> {
    if (!this.#has) await this.#compute.initialize(place);
    this.#has = true;
  }

  /** Moves the state that is held into the lineage that begins with it; nothing to do for one that is in it. */
  async begin(origin: Origin): Promise<void> {
    const before = (await this.frozen())!;
    const { snapshot } = before;
    const progress = progressIn(snapshot);
    const there = begun(progress, origin);
    if (there === progress) return;
    await this.replace(await named({ ...snapshot, progress: encodeJson(there) }, this.layout), before);
  }

  /** @param begunFrom what was moved, if this is what came of it: who copies meanwhile is given that */
  async replace(state: NamedSnapshot, begunFrom: NamedSnapshot | null = null): Promise<void> {
    this.#begunFrom = begunFrom;
    this.#frozen = null;
    this.#naming = null;
    this.#lent = null;
    await this.#compute.restore(state.snapshot);
    this.#has = true;
    this.#frozen = state;
  }

  /** Trains on from here. */
  async run(assignment: Assignment): Promise<RunOutcome> {
    this.#lent = this.#frozen;
    this.#naming = null;
    this.#frozen = null;
    return this.#compute.run(assignment);
  }

  /** A step was applied, so all members have the generation's state. */
  stepped(): void {
    this.#lent = null;
    this.#begunFrom = null;
  }

  /** The state is not to be trusted: it is never reported, and nobody gets a copy. */
  forget(): void {
    this.#has = false;
    this.#frozen = null;
    this.#naming = null;
    this.#lent = null;
    this.#begunFrom = null;
    this.trainedIn = 0;
    this.isCopy = false;
  }

  #name(): Promise<NamedSnapshot> {
    const naming: Promise<NamedSnapshot> = this.#namedCopy()
      .then((state) => {
        if (this.#naming === naming) this.#frozen = state;
        return state;
      })
      .finally(() => {
        if (this.#naming === naming) this.#naming = null;
      });
    return naming;
  }

  /** In memory that is never given back: peers, a boundary and this worker's next generation may read it for as long as they like. */
  async #namedCopy(): Promise<NamedSnapshot> {
    return named(await this.#compute.snapshot(this.#memory.take()), this.layout);
  }
}

export async function named(snapshot: StateSnapshot, layout: Pick<Layout, "weightCount">): Promise<NamedSnapshot> {
  const { state, weights } = await bothDigestsOf(snapshot, layout);
  return { name: { ...placeOf(snapshot), digest: state }, weightsDigest: weights, snapshot };
}

/** The state under its name; refused when it is another one than it should be. */
export async function verified(
  snapshot: StateSnapshot,
  digest: string,
  layout: Pick<Layout, "weightCount">,
): Promise<NamedSnapshot> {
  const state = await named(snapshot, layout);
  if (state.name.digest === digest) return state;
  throw new LockstepError(
    "corrupt-checkpoint",
    `The state of step ${state.name.step} arrived with the digest ${state.name.digest}, not ${digest}.`,
  );
}
