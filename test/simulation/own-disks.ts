/**
 * A disk for each worker, where they share none: the adapter that replicates runs unchanged over simulated disks and a
 * simulated network. A disk stays when its process dies, and is gone when it is lost.
 */
import { CheckpointError } from "../../src/core/manifest.ts";
import { LockstepError } from "../../src/core/errors.ts";
import type { Store } from "../../src/core/membership.ts";
import type { CheckpointsConnection } from "../../src/adapters/grpc/checkpoints.ts";
import { Keeper } from "../../src/adapters/replicas/keeper.ts";
import { type Copies, ReplicatedStorage, type Surroundings } from "../../src/adapters/replicas/replicated-storage.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import type { Disk } from "./disk.ts";
import type { Connection, Network } from "./network.ts";
import { Actor, slotOf, type World } from "./world.ts";

export interface OwnDiskParts {
  readonly world: World;
  readonly network: Network;
  readonly disk: Disk;
}

export interface OwnDiskWish {
  readonly actor: Actor;
  readonly name: string;
  readonly address: string;
  readonly run: string;
  readonly replicas: number;
  readonly log: Log;
  readonly surroundings: (store: Store) => Surroundings;
}

interface Served {
  readonly actor: Actor;
  readonly keeper: Keeper;
}

/** All that are served, by their addresses. */
export class OwnDisks {
  readonly #parts: OwnDiskParts;
  readonly #served = new Map<string, Served>();

  constructor(parts: OwnDiskParts) {
    this.#parts = parts;
  }

  open({ actor, name, address, run, replicas, log, surroundings }: OwnDiskWish): {
    storage: ReplicatedStorage;
    local: CheckpointStorage;
    store: Store;
  } {
    const { disk } = this.#parts;
    const own = new Actor("store", actor);
    const { local, files } = disk.ownOf(actor);
    const store: Store = { id: disk.storeIdOf(slotOf(actor)), address };
    const storage = new ReplicatedStorage({
      ...{ local, files, name, store, run, replicas, log },
      surroundings: surroundings(store),
      connect: (to) => this.#connect(own, to),
    });
    this.#served.set(address, { actor: own, keeper: new Keeper(run, files, storage) });
    return { storage, local, store };
  }

  #connect(from: Actor, address: string): CheckpointsConnection {
    const over = new AbortController();
    return {
      keep: (request) => this.#call(from, address, 50, ({ keeper }) => keeper.keep(request, () => {}, over.signal)),
      fetch: async function* (this: OwnDisks, request: Parameters<CheckpointsConnection["fetch"]>[0]) {
        yield await this.#call(from, address, 2000, async ({ keeper }) => {
          const parts: Uint8Array[] = [];
          for await (const part of keeper.fetch(request)) parts.push(part);
          return Buffer.concat(parts);
        });
      }.bind(this),
      close: () => over.abort(new LockstepError("process-failed", "The asker has gone, or given up.")),
    };
  }

  /** There and back; what fails over there fails here, and so does a connection that breaks. */
  #call<T>(from: Actor, address: string, answerBytes: number, work: (served: Served) => Promise<T>): Promise<T> {
    const { world, network } = this.#parts;
    return new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new LockstepError("process-failed", `${address} is out of reach: ${why}.`));
      const served = this.#served.get(address);
      if (!served || served.actor.isDead) {
        world.after(1, from, () => fail("the connection was refused"));
        return;
      }
      const connection: Connection = network.connect(from, served.actor, (end, reason) => {
        if (end === from) fail(reason);
      });
      const answer = (then: () => void) => {
        network.send(connection, served.actor, answerBytes, () => {
          network.disconnect(connection);
          then();
        });
      };
      network.send(connection, from, 50, () => {
        work(served).then(
          (value) => answer(() => resolve(value)),
          (error: unknown) => answer(() => reject(error)),
        );
      });
    });
  }
}

/** What a disk needs beside the port. */
export function copiesOn(
  manifestOf: (id: string) => { text: string; sha256: string } | null,
  isWhole: (id: string) => boolean,
  take: (id: string) => Promise<Awaited<ReturnType<Copies["copy"]>>>,
): Copies {
  const damaged = (id: string) =>
    new CheckpointError("corrupt", `A file of ${id} has another SHA-256 than was written.`);
  return {
    holds: async (id, sha256) => isWhole(id) && manifestOf(id)?.sha256 === sha256,
    async *read(id, name) {
      const manifest = manifestOf(id);
      if (!manifest) throw new CheckpointError("missing", `There is no ${id}/${name}.`);
      yield new TextEncoder().encode(name === "manifest.json" ? manifest.text : isWhole(id) ? "whole" : "damaged");
    },
    async copy(id, sha256, source) {
      for (const name of ["manifest.json", "weights.safetensors"]) {
        for await (const part of source(name)) if (new TextDecoder().decode(part) === "damaged") throw damaged(id);
      }
      const stored = await take(id);
      if (sha256 !== null && stored.manifestSha256 !== sha256) throw damaged(id);
      return stored;
    },
  };
}
