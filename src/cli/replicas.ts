/** A worker's own checkpoints where no directory is shared: kept, served, fetched and tidied. */
import { resolve } from "node:path";
import { CheckpointFiles } from "../adapters/fs/checkpoint-files.ts";
import { noteWorker, storeIdOf } from "../adapters/fs/store-id.ts";
import {
  type CheckpointsConnection,
  type CheckpointsHandler,
  connectCheckpoints,
  serveCheckpoints,
} from "../adapters/grpc/checkpoints.ts";
import { Keeper } from "../adapters/replicas/keeper.ts";
import { ReplicatedStorage } from "../adapters/replicas/replicated-storage.ts";
import { surroundingsOf } from "../adapters/replicas/surroundings.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import { assert, LockstepError } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { Member, Store } from "../core/membership.ts";
import type { JobRecord } from "../core/records.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { keepTidy } from "../runtime/own-checkpoints.ts";
import type { Arguments } from "./command.ts";
import { addressOf } from "./common.ts";
import { checkListen, type ProcessSecurity } from "./security.ts";

export interface OwnCheckpoints {
  readonly storage: CheckpointStorage;
  readonly store: Store;
  /** Deletes what is not kept any more, as far as that is known by now. */
  tidy(): Promise<void>;
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
  readonly security: ProcessSecurity;
}

/** So many budgets a disk may take before it counts as hanging. */
const stallBudgets = 12;

/** How another worker's checkpoints are asked for. */
export function connectTo(
  { connectMs, budgetMs }: FailureBudget,
  certificates: CertificateFolder | null,
): (address: string) => CheckpointsConnection {
  return (address) => connectCheckpoints(address, connectMs, stallBudgets * budgetMs, certificates);
}

export async function openOwnCheckpoints(args: Arguments, wish: OwnCheckpointsWish): Promise<OwnCheckpoints> {
  const { local, name, record, keys, budget, coordination, log, security } = wish;
  const directory = resolve(wish.directory);
  const files = new CheckpointFiles(directory, local, log);
  const run = `${record.job}/${record.run}`;
  const id = await storeIdOf(directory);
  const connect = connectTo(budget, security.certificates);
  const { entries } = await coordination.list(keys.members);
  for (const { value } of entries) {
    const other = decodeJson<Member>(value);
    if (other.store?.id !== id || !(await answers(connect(other.store.address), run))) continue;
    throw new LockstepError("usage", `The worker ${other.name} has its checkpoints in ${directory} too.`, {
      hint: "With --replicas, give each worker a --checkpoints directory of its own, each on a disk of its own.",
    });
  }
  await noteWorker(directory, name);
  await files.removeStagings();
  let keeper: Keeper | null = null;
  const opened = () => {
    assert(keeper !== null, "nobody is told the address before there is somebody to answer");
    return keeper;
  };
  const hostOf = (address: string) => address.slice(0, address.lastIndexOf(":"));
  const listen = addressOf(args, "store-listen", `${hostOf(addressOf(args, "listen", "127.0.0.1:0"))}:0`);
  checkListen("store-listen", listen, security);
  const handler: CheckpointsHandler = {
    keep: (request, onReceived, over) => opened().keep(request, onReceived, over),
    fetch: (request) => opened().fetch(request),
  };
  const server = await serveCheckpoints(listen, budget.connectMs, handler, security);
  const advertised = args.text("advertise");
  const address =
    args.text("store-advertise") ??
    (advertised === undefined ? server.address : hostOf(advertised) + server.address.slice(hostOf(listen).length));
  const store: Store = { id, address };
  const storage = new ReplicatedStorage({
    ...{ local, files, name, store, run, replicas: record.replicas, log },
    surroundings: surroundingsOf(store, keys, coordination),
    connect,
  });
  keeper = new Keeper(run, files, storage);
  const tidying = keepTidy({ coordination, keys, record, storage: local, pollMs: stallBudgets * budget.pollMs, log });
  return {
    storage,
    store,
    tidy: () => tidying.tidy(),
    close() {
      tidying.close();
      server.close();
    },
  };
}

/** Whether somebody is there, whatever the answer. */
async function answers(connection: CheckpointsConnection, run: string): Promise<boolean> {
  try {
    for await (const _ of connection.fetch({ run, id: "", file: "" }));
    return true;
  } catch (error) {
    return error instanceof CheckpointError;
  } finally {
    connection.close();
  }
}
