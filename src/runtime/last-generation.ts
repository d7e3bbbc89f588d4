/**
 * What a coordinator remembers of the generation that it has read last, for when etcd loses it: its number, which is never
 * given again, and its members, who come back under new ids with the states that they have.
 */
import type { Keys } from "../core/keys.ts";
import type { FormingMember, Generation, Member } from "../core/membership.ts";
import type { RunReading } from "./run-reading.ts";
import { SeenGenerations } from "./seen-generations.ts";

export class LastGeneration {
  readonly #seen = new SeenGenerations();
  #members: readonly FormingMember[] = [];

  /** Its number, or a higher one that etcd should know of; 0 before the first. */
  get number(): number {
    return this.#seen.highest;
  }

  /** What was read, when the client had noticed so many rollbacks. */
  read({ generation, origin }: Pick<RunReading, "generation" | "origin">, rollbacks: number): void {
    if (generation && generation.generation >= this.number) this.#members = generation.members;
    this.#seen.note(generation?.generation ?? 0, origin, rollbacks);
  }

  /** This coordinator has formed it. */
  formed({ generation, members }: Pick<Generation, "generation" | "members">): void {
    if (generation >= this.number) this.#members = members;
    this.#seen.atLeast(generation);
  }

  /** Members of the current generation whose keys are not there; after a loss, those who have not come back: a process keeps its address. */
  absent({ generation, members, entries }: RunReading, keys: Keys): readonly FormingMember[] {
    if (generation) return generation.members.filter(({ workerId }) => !entries.has(keys.member(workerId)));
    // Under its old id a process may announce itself once more, and go; and an older copy of etcd's data has keys of
    // processes that are gone, and of those that were members under later ids. Who comes back has read of the generation.
    const isNew = ({ workerId, seen }: Member) =>
      seen >= this.number && !this.#members.some((member) => member.workerId === workerId);
    const there = new Set(members.filter(isNew).map(({ address }) => address));
    return this.#members.filter(({ address }) => !there.has(address));
  }
}
