/** A worker's own checkpoints where no directory is shared: kept, served, fetched and tidied. */
import { resolve } from "node:path";
import { CheckpointFiles } from "../adapters/fs/checkpoint-files.ts";
import { storeIdOf } from "../adapters/fs/store-id.ts";
import { connectCheckpoints, serveCheckpoints } from "../adapters/grpc/checkpoints.ts";
import { Keeper } from "../adapters/replicas/keeper.ts";
import { type Published, ReplicatedStorage, type Surroundings } from "../adapters/replicas/replicated-storage.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { assert } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { Generation, Member, Store } from "../core/membership.ts";
import type { CheckpointRecord, JobRecord } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import { holdersBeside, keepersBeside } from "../core/replicas.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { keepTidy } from "../runtime/own-checkpoints.ts";
import type { Arguments } from "./command.ts";
import { addressOf } from "./common.ts";

export interface OwnCheckpoints {
  readonly storage: CheckpointStorage;
  readonly store: Store;
  close(): void;
}

export interface OwnCheckpointsWish {
  readonly directory: string;
  /** Of that directory. */
  readonly local: CheckpointStorage;
  readonly name: string;
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly budget: FailureBudget;
  readonly coordination: Coordination;
  readonly log: Log;
}

/** So many budgets a disk may take before it counts as hanging. */
const stallBudgets = 12;

export async function openOwnCheckpoints(args: Arguments, wish: OwnCheckpointsWish): Promise<OwnCheckpoints> {
  const { local, name, record, keys, budget, coordination, log } = wish;
  const directory = resolve(wish.directory);
  const files = new CheckpointFiles(directory, local, log);
  await files.removeStagings();
  const run = `${record.job}/${record.run}`;
  let keeper: Keeper | null = null;
  const opened = () => {
    assert(keeper !== null, "nobody is told the address before there is somebody to answer");
    return keeper;
  };
  const hostOf = (address: string) => address.slice(0, address.lastIndexOf(":"));
  const listen = addressOf(args, "store-listen", `${hostOf(addressOf(args, "listen", "127.0.0.1:0"))}:0`);
  const server = await serveCheckpoints(listen, budget.connectMs, {
    keep: (request, onReceived, over) => opened().keep(request, onReceived, over),
    fetch: (request) => opened().fetch(request),
  });
  const advertised = args.text("advertise");
  const address =
    args.text("store-advertise") ??
    (advertised === undefined ? server.address : hostOf(advertised) + server.address.slice(hostOf(listen).length));
  const store: Store = { id: await storeIdOf(directory), address };
  const storage = new ReplicatedStorage({
    ...{ local, files, name, store, run, replicas: record.replicas, log },
    surroundings: surroundingsOf(store, keys, coordination),
    connect: (at) => connectCheckpoints(at, budget.connectMs, stallBudgets * budget.budgetMs),
    pauseMs: budget.pollMs,
    clock: systemClock,
  });
  keeper = new Keeper(run, files, storage);
  const tidying = keepTidy({ coordination, keys, record, storage: local, pollMs: stallBudgets * budget.pollMs, log });
  return {
    storage,
    store,
    close() {
      tidying.close();
      server.close();
    },
  };
}

function surroundingsOf(own: Store, keys: Keys, coordination: Coordination): Surroundings {
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
      return records.filter(({ state }) => state === "live").map(({ pointer }) => publishedOf(pointer));
    },
    async holdersOf(id) {
      const entry = await coordination.get(keys.checkpoint(id));
      const published = entry && publishedOf(decodeJson<CheckpointRecord>(entry.value).pointer);
      return { published, holders: holdersBeside(own, await members(), published?.holders ?? []) };
    },
  };
}

function publishedOf({ id, manifestSha256, holders = [] }: CheckpointPointer): Published {
  return { id, manifestSha256, holders };
}
