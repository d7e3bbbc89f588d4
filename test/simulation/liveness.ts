/** The liveness port in virtual time: a connection that is held open tells when the process at its other end is gone. */
import type { Liveness } from "../../src/ports/liveness.ts";
import type { Chance } from "./random.ts";
import type { Actor, World } from "./world.ts";

export class EndsOfProcesses {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #isThere: (address: string) => boolean;
  readonly #watching = new Map<string, Set<() => void>>();

  constructor(world: World, isThere: (address: string) => boolean) {
    this.#world = world;
    this.#chance = world.chance("liveness");
    this.#isThere = isThere;
  }

  /** The process at this address is gone. */
  tell(address: string): void {
    for (const tell of this.#watching.get(address) ?? []) tell();
  }

  livenessFor(actor: Actor): Liveness {
    return {
      watch: (address, onGone) => {
        let isClosed = false;
        const watching = this.#watching.get(address) ?? new Set();
        const tell = () => {
          this.#world.after(this.#chance.between(0.2, 5), actor, () => {
            if (!isClosed) onGone();
          });
        };
        this.#watching.set(address, watching.add(tell));
        if (!this.#isThere(address)) tell();
        return {
          close() {
            isClosed = true;
            watching.delete(tell);
          },
        };
      },
    };
  }
}
