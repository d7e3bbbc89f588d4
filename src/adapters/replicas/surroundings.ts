/** Who is there, and what is published, as etcd has it: read anew for every question. */
import { decodeJson } from "../../core/json.ts";
import type { Keys } from "../../core/keys.ts";
import type { Generation, Member, Store } from "../../core/membership.ts";
import type { CheckpointRecord } from "../../core/records.ts";
import { holdersBeside, keepersBeside } from "../../core/replicas.ts";
import type { CheckpointPointer } from "../../core/status.ts";
import type { Coordination } from "../../ports/coordination.ts";
import type { Published, Surroundings } from "./replicated-storage.ts";

export function surroundingsOf(own: Store, keys: Keys, coordination: Coordination): Surroundings {
  const members = async () => {
    const { entries } = await coordination.list(keys.members);
    return entries.map(({ value }) => decodeJson<Member>(value));
  };
  return {
    async keepers() {
      const generation = await coordination.get(keys.generation);
      return keepersBeside(own, await members(), generation && decodeJson<Generation>(generation.value));
    },
    async published() {
      const { entries } = await coordination.list(keys.checkpoints);
      const records = entries.map(({ value }) => decodeJson<CheckpointRecord>(value));
      return records.flatMap((one) => (one.state === "live" ? [publishedOf(one.pointer)] : []));
    },
    async holdersOf(id) {
      const entry = await coordination.get(keys.checkpoint(id));
      const record = entry && decodeJson<CheckpointRecord>(entry.value);
      const published = record && record.state !== "condemned" ? publishedOf(record.pointer) : null;
      return { published, holders: holdersBeside(own, await members(), published?.holders ?? []) };
    },
  };
}

function publishedOf({ id, manifestSha256, holders = [] }: CheckpointPointer): Published {
  return { id, manifestSha256, holders };
}
