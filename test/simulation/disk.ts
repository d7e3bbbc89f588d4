/**
 * The directory of checkpoints that all workers share. Writing takes time and becomes whole in one stroke at its end:
 * who dies before leaves nothing that counts.
 */
import { createHash } from "node:crypto";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../../src/ports/checkpoint-storage.ts";
import type { Chance } from "./random.ts";
import { type Actor, slotOf, type World } from "./world.ts";

export interface DiskEvents {
  onWriting(process: string, id: string): void;
  onWhole(process: string, id: string): void;
  onDelete(process: string, id: string): void;
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

  wholeOf(id: string): CheckpointContent | null {
    return this.#whole.get(id)?.content ?? null;
  }

  of(actor: Actor): CheckpointStorage {
    const wait = (ms: number) =>
      new Promise<void>((resolve) =>
        this.#world.after(ms * this.slowness * this.#chance.between(0.5, 2), actor, resolve),
      );
    return {
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
  }
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
