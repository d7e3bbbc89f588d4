/**
 * What a coordinator remembers of the generation that it has read last, for when etcd loses it: its number, which is never
 * given again, and its members, who come back under new ids with the states that they have.
 */
import type { Keys } from "../core/keys.ts";
import type { FormingMember, Generation, Member } from "../core/membership.ts";
import type { RunReading } from "./run-reading.ts";

export class LastGeneration {
  /** Its number; 0 before the first. */
  number = 0;
  #members: readonly FormingMember[] = [];

  note(generation: Generation | null): void {
    if (!generation || generation.generation < this.number) return;
    this.number = generation.generation;
    this.#members = generation.members;
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
