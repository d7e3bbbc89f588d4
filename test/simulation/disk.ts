/**
 * The directory of checkpoints that all workers share; or each worker's own. Writing takes time and becomes whole in one stroke at its end:
 * who dies before leaves nothing that counts.
 */
import { createHash } from "node:crypto";
import { CheckpointError } from "../../src/core/manifest.ts";
import { compareStates } from "../../src/core/state-order.ts";
import type { Member } from "../../src/core/membership.ts";
import type {
  CheckpointContent,
  CheckpointStorage,
  RunSources,
  StoredCheckpoint,
} from "../../src/ports/checkpoint-storage.ts";
import type { Chance } from "./random.ts";
import type { Copies } from "../../src/adapters/replicas/replicated-storage.ts";
import type { RunArchive } from "../../src/runtime/rebuild-run.ts";
import { copiesOn } from "./own-disks.ts";
import { type Actor, slotOf, type World } from "./world.ts";

export interface DiskEvents {
  onWriting(process: string, id: string): void;
  onWhole(process: string, id: string): void;
  onDelete(process: string, id: string): void;
  /** One copy of several. */
  onDeleteCopy(process: string, id: string): void;
}

interface Whole {
  readonly content: CheckpointContent;
  readonly stored: StoredCheckpoint;
}

export class Disk {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #whole = new Map<string, Whole>();
  readonly #events: DiskEvents;
  /** Ids whose bytes are not those that were written. */
  readonly corrupt = new Set<string>();
  /** Ids that were ever begun; none may be begun twice. */
  readonly #begun = new Set<string>();
  /** Slots whose writes fail. */
  readonly failing = new Set<string>();
  /** How many times as long everything takes. */
  slowness = 1;
  /** Ids that were asked for a second time. */
  readonly reused: string[] = [];

  constructor(world: World, events: DiskEvents) {
    this.#world = world;
    this.#events = events;
    this.#chance = world.chance("disk");
  }

  /** Of workers that share nothing: which ids lie on whose disk. Null where all share one. */
  #own: Map<string, Set<string>> | null = null;
  /** Copies whose bytes are not those that were written, as SLOT/ID. */
  readonly #damaged = new Set<string>();
  /** All copies that ever were, as SLOT/ID. */
  readonly #held = new Set<string>();
  /** How often each slot got a new disk. */
  readonly #lost = new Map<string, number>();

  wholeOf(id: string): CheckpointContent | null {
    if (this.#own && this.holdersOf(id).length === 0) return null;
    return this.#whole.get(id)?.content ?? null;
  }

  manifestOf(id: string): StoredCheckpoint["manifest"] | null {
    return this.#whole.get(id)?.stored.manifest ?? null;
  }

  /** From now on nothing is shared. */
  separate(): void {
    this.#own = new Map();
  }

  /** The slots that have a whole copy; empty where all share one disk. */
  holdersOf(id: string): readonly string[] {
    const holders = [...(this.#own ?? [])].filter(([slot, ids]) => ids.has(id) && !this.#damaged.has(`${slot}/${id}`));
    return holders.map(([slot]) => slot);
  }

  everHeld(slot: string, id: string): boolean {
    return this.#held.has(`${slot}/${id}`);
  }

  get isSeparate(): boolean {
    return this.#own !== null;
  }

  /** Whether everything on this disk has another whole copy. */
  isAnywhereElse(slot: string): boolean {
    if (!this.#own) return false;
    return [...(this.#own.get(slot) ?? [])].every((id) => this.holdersOf(id).some((other) => other !== slot));
  }

  storeIdOf(slot: string): string {
    return `${slot}-${this.#lost.get(slot) ?? 0}`;
  }

  /** The disk of a slot whose process is dead is gone; it gets a new one. */
  lose(slot: string): void {
    this.#lost.set(slot, (this.#lost.get(slot) ?? 0) + 1);
    this.#own?.delete(slot);
  }

  /** A bit of one copy turns over. */
  damage(slot: string, id: string): void {
    this.#damaged.add(`${slot}/${id}`);
  }

  /** What one worker has on a disk of its own. */
  ownOf(actor: Actor): { readonly local: CheckpointStorage; readonly files: Copies } {
    const slot = slotOf(actor);
    const ids = (): Set<string> => {
      const known = this.#own!.get(slot) ?? new Set();
      this.#own!.set(slot, known);
      return known;
    };
    const isDamaged = (id: string) => this.#damaged.has(`${slot}/${id}`);
    const shared = this.of(actor);
    const keep = (id: string) => {
      ids().add(id);
      this.#held.add(`${slot}/${id}`);
      this.#damaged.delete(`${slot}/${id}`);
    };
    const local: CheckpointStorage = {
      write: async (content) => {
        const stored = await shared.write(content);
        keep(stored.id);
        return stored;
      },
      load: async (id) => {
        if (!ids().has(id)) throw new CheckpointError("missing", `There is no checkpoint ${id}.`);
        const content = await shared.load(id);
        if (isDamaged(id))
          throw new CheckpointError("corrupt", `A file of ${id} has another SHA-256 than was written.`);
        return content;
      },
      check: async (id) => {
        await local.load(id);
        return this.#whole.get(id)!.stored;
      },
      list: async () => (await shared.list()).filter(({ id }) => ids().has(id)),
      delete: async (id) => {
        await this.#wait(actor, 5);
        this.#events.onDeleteCopy(actor.name, id);
        ids().delete(id);
        this.#damaged.delete(`${slot}/${id}`);
      },
    };
    const files = copiesOn(
      (id) => {
        const stored = ids().has(id) ? this.#whole.get(id)!.stored : null;
        return stored && { text: JSON.stringify(withoutFiles(stored.manifest)), sha256: stored.manifestSha256 };
      },
      (id) => ids().has(id) && !isDamaged(id),
      async (id) => {
        await this.#wait(actor, 40);
        if (this.failing.has(slot)) throw new CheckpointError("unwritable", `No space is left for a copy of ${id}.`);
        keep(id);
        return this.#whole.get(id)!.stored;
      },
    );
    return { local, files };
  }

  #wait(actor: Actor, ms: number): Promise<void> {
    return new Promise((resolve) =>
      this.#world.after(ms * this.slowness * this.#chance.between(0.5, 2), actor, resolve),
    );
  }

  /** What a coordinator sees of it. There is only one run. */
  archiveFor(actor: Actor): RunArchive {
    const storage = this.of(actor);
    const ofRun = async (run: number) => (run === 1 ? storage.list() : []);
    return {
      newestRun: async () => ((await storage.list()).length > 0 ? 1 : 0),
      checkpointsOf: async (run) => [...(await ofRun(run))].sort((a, b) => compareStates(a.manifest, b.manifest)),
      load: (_, id) => storage.load(id),
      check: (_, id) => storage.check(id),
      copiesOf: async () => [],
      isReplicated: async () => false,
    };
  }

  /** What a coordinator is told by those who have disks of their own. */
  broughtFor(actor: Actor, members: readonly Member[]): RunSources {
    const has = (id: string) =>
      members.filter(({ name, brings }) => brings.includes(id) && this.#own?.get(name)?.has(id));
    return {
      checkpointsOf: async () => {
        await this.#wait(actor, 20);
        const ids = [...new Set(members.flatMap(({ brings }) => brings))].filter((id) => has(id).length > 0);
        return ids
          .map((id) => ({ ...this.#whole.get(id)!.stored, holders: has(id).map(({ name }) => name) }))
          .sort((a, b) => compareStates(a.manifest, b.manifest));
      },
      load: async (_, id) => {
        await this.#wait(actor, 20);
        if (has(id).some(({ name }) => !this.#damaged.has(`${name}/${id}`))) return this.#whole.get(id)!.content;
        throw new CheckpointError("corrupt", `A file of ${id} has another SHA-256 than was written.`);
      },
    };
  }

  /** The highest generation of which there is a whole checkpoint. */
  get newestGeneration(): number {
    return Math.max(0, ...[...this.#whole.values()].map(({ stored }) => stored.manifest.generation));
  }

  of(actor: Actor): CheckpointStorage {
    const wait = (ms: number) => this.#wait(actor, ms);
    const storage: CheckpointStorage = {
      write: async (content) => {
        const { id } = content.manifest;
        if (this.#begun.has(id)) this.reused.push(id);
        this.#begun.add(id);
        this.#events.onWriting(actor.name, id);
        await wait(20);
        if (this.failing.has(slotOf(actor))) {
          throw new CheckpointError("unwritable", `The checkpoint ${id} could not be written: no space is left.`);
        }
        await wait(20);
        const stored = storedOf(content);
        this.#whole.set(id, { content: copyOf(content), stored });
        this.#events.onWhole(actor.name, id);
        await wait(10);
        return stored;
      },
      load: async (id) => {
        await wait(15);
        const whole = this.#whole.get(id);
        if (!whole) throw new CheckpointError("missing", `There is no checkpoint ${id}.`);
        if (this.corrupt.has(id)) {
          throw new CheckpointError("corrupt", `A file of ${id} has another SHA-256 than was written.`);
        }
        return copyOf(whole.content);
      },
      check: async (id) => {
        await storage.load(id);
        return this.#whole.get(id)!.stored;
      },
      list: async () => {
        await wait(5);
        return [...this.#whole.values()].map(({ stored }) => stored);
      },
      delete: async (id) => {
        await wait(5);
        this.#events.onDelete(actor.name, id);
        this.#whole.delete(id);
      },
    };
    return storage;
  }
}

function withoutFiles({ files: _, ...manifest }: StoredCheckpoint["manifest"]): CheckpointContent["manifest"] {
  return manifest;
}

function storedOf({ manifest }: CheckpointContent): StoredCheckpoint {
  const text = JSON.stringify(manifest);
  return {
    id: manifest.id,
    location: `/checkpoints/${manifest.id}`,
    manifestSha256: createHash("sha256").update(text).digest("hex"),
    manifest: { ...manifest, files: [] },
  };
}

function copyOf(content: CheckpointContent): CheckpointContent {
  const copied = (tensors: CheckpointContent["weights"]) =>
    tensors.map((tensor) => ({ ...tensor, values: tensor.values.slice() }));
  return { ...content, weights: copied(content.weights), optimizer: copied(content.optimizer) };
}
