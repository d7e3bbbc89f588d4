/**
 * Checkpoints without a directory that all workers share. Each worker has its own; whoever writes a checkpoint has so many
 * others fetch it, verify it and make it durable before it counts as written; whoever lacks one, or has a damaged one, fetches
 * it from a worker that has it.
 */
import { createHash } from "node:crypto";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import type { Store } from "../../core/membership.ts";
import type { Holder } from "../../core/replicas.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import type { CheckpointFiles } from "../fs/checkpoint-files.ts";
import { manifestName } from "../fs/checkpoint-reader.ts";
import type { CheckpointsConnection, KeepRequest } from "../grpc/checkpoints.ts";

/** What etcd says of a published checkpoint. */
export interface Published {
  readonly id: string;
  readonly manifestSha256: string;
  /** The names of the workers that had it then. */
  readonly holders: readonly string[];
}

/** Who is there, and what is published; read anew for every question. */
export interface Surroundings {
  /** Who could keep a copy, in the order in which they are asked. */
  keepers(): Promise<readonly Holder[]>;
  /** All that is published and not condemned. */
  published(): Promise<readonly Published[]>;
  /** Who may have it, in the order in which they are asked; and what is known of it, or null. */
  holdersOf(id: string): Promise<{ readonly published: Published | null; readonly holders: readonly Holder[] }>;
}

/** What is done with checkpoints as files. */
export type Copies = Pick<CheckpointFiles, "holds" | "copy" | "read">;

export interface ReplicationOptions {
  /** The worker's own. */
  readonly local: CheckpointStorage;
  /** Of the same place. */
  readonly files: Copies;
  readonly name: string;
  readonly store: Store;
  /** As JOB/NUMBER. */
  readonly run: string;
  /** How many others keep a copy. */
  readonly replicas: number;
  readonly surroundings: Surroundings;
  readonly connect: (address: string) => CheckpointsConnection;
  readonly log: Log;
}

type Worker = Pick<Holder, "name" | "store">;

/** Under which right somebody asks. */
type Leader = Pick<KeepRequest, "era" | "fencingToken">;

export class ReplicatedStorage implements CheckpointStorage {
  readonly #options: ReplicationOptions;
  /** Copies that are being fetched, by id: nobody fetches one twice at a time. */
  readonly #fetching = new Map<string, Promise<StoredCheckpoint>>();

  /** The stores of which this worker knows that they have a published checkpoint, by its id. */
  readonly #known = new Map<string, Set<string>>();
  #isCompleting = false;
  readonly #said = new Set<string>();
  /** The latest that it has heard of. */
  #leader: Leader = { era: 0, fencingToken: 0 };

  constructor(options: ReplicationOptions) {
    this.#options = options;
  }

  /** Resolves when `replicas` others have it too; with fewer only when all who are there have been asked. */
  async write(content: CheckpointContent): Promise<StoredCheckpoint> {
    const { local, name, log, replicas, surroundings } = this.#options;
    this.#noteLeader(content.manifest);
    const stored = await local.write(content);
    try {
      const keepers = await surroundings.keepers();
      const kept = await this.#haveKept(stored, keepers, replicas);
      if (kept.length < replicas) {
        log.warn("a checkpoint has fewer copies than it should have", {
          ...{ id: stored.id, copies: kept.length, wanted: replicas, asked: keepers.length },
        });
      }
      void this.#completeEarlier(content.manifest, keepers);
      return { ...stored, holders: [name, ...kept] };
    } catch (error) {
      await local.delete(stored.id);
      throw error;
    }
  }

  /**
   * From here, or else from whoever has it. It is "corrupt" only if every worker has been asked that had it when it was
   * published; while one of them is away, it is "missing". A damaged copy is replaced by a good one, and only by that.
   */
  async load(id: string, over?: AbortSignal): Promise<CheckpointContent> {
    const { local } = this.#options;
    try {
      return await local.load(id);
    } catch (error) {
      if (!(error instanceof CheckpointError) || !["missing", "corrupt"].includes(error.problem)) throw error;
      if (error.problem === "corrupt") {
        this.#sayOnce("error", "the copy of a checkpoint here is damaged; another worker's is taken", {
          id,
          reason: error.message,
        });
      }
      await this.#fetchFromAnyone(id, error, over);
    }
    try {
      return await local.load(id);
    } catch (error) {
      throw error instanceof CheckpointError && error.problem === "corrupt" ? ownFault(id, error) : error;
    }
  }

  /** The copy that is here. */
  check(id: string): Promise<StoredCheckpoint> {
    return this.#options.local.check(id);
  }

  /** Those that are here. */
  list(): Promise<readonly StoredCheckpoint[]> {
    return this.#options.local.list();
  }

  /** Here. Every holder deletes its own, see runtime/own-checkpoints.ts. */
  delete(id: string): Promise<void> {
    return this.#options.local.delete(id);
  }

  /** Has the checkpoint here, as a leader asks; "fenced-off" once there is a later one. */
  async keep(request: KeepRequest, onReceived: (bytes: number) => void, over: AbortSignal): Promise<void> {
    this.#noteLeader(request);
    const { id, manifestSha256, address } = request;
    if (await this.#options.files.holds(id, manifestSha256)) return;
    await this.#fetch(id, manifestSha256, address, over, onReceived);
  }

  #noteLeader({ era, fencingToken }: Leader): void {
    const known = this.#leader;
    if ((era - known.era || fencingToken - known.fencingToken) < 0) {
      throw new LockstepError(
        "fenced-off",
        `There is a later leader (era ${known.era}, token ${known.fencingToken}) than the one that asks (era ${era}, token ${fencingToken}).`,
      );
    }
    this.#leader = { era, fencingToken };
  }

  /** Asks one after the other, as many at a time as are needed; returns the names of those who have it. */
  async #haveKept(stored: StoredCheckpoint, keepers: readonly Holder[], wanted: number): Promise<readonly string[]> {
    const left = [...keepers];
    const askUntilKept = async (): Promise<string | null> => {
      for (let keeper = left.shift(); keeper; keeper = left.shift()) {
        if (await this.#askToKeep(stored.manifest, { ...stored, address: this.#options.store.address }, keeper))
          return keeper.name;
      }
      return null;
    };
    const kept = await Promise.all(Array.from({ length: wanted }, askUntilKept));
    return kept.filter((name) => name !== null);
  }

  /** Beside training: has copies made of those published before that too few workers which are there have. */
  async #completeEarlier(leader: Leader, keepers: readonly Holder[]): Promise<void> {
    const { surroundings, log } = this.#options;
    if (this.#isCompleting) return;
    this.#isCompleting = true;
    try {
      const published = await surroundings.published();
      for (const id of this.#known.keys()) if (!published.some((other) => other.id === id)) this.#known.delete(id);
      for (const checkpoint of published) await this.#complete(checkpoint, leader, keepers);
    } catch (error) {
      // Tried again with the next checkpoint.
      log.warn("a published checkpoint has fewer copies than it should have", { reason: messageOf(error) });
    } finally {
      this.#isCompleting = false;
    }
  }

  async #complete(
    { id, manifestSha256, holders }: Published,
    leader: Leader,
    keepers: readonly Holder[],
  ): Promise<void> {
    const { name, store, replicas, log } = this.#options;
    const known = this.#known.get(id) ?? new Set<string>();
    this.#known.set(id, known);
    // By its store and not by its name: it may have lost its disk since.
    const has = (worker: Worker) => known.has(worker.store.id);
    const isNamed = (worker: Worker) => Number(holders.includes(worker.name));
    const everyone: readonly Worker[] = [{ name, store }, ...keepers].sort((a, b) => isNamed(b) - isNamed(a));
    const isEnough = () => everyone.filter(has).length > replicas;
    for (const worker of everyone.filter((other) => !has(other))) {
      if (!isEnough() && (await this.#saysToHave(id, manifestSha256, worker))) known.add(worker.store.id);
    }
    const address = everyone.find(has)?.store.address;
    for (const worker of everyone.filter((other) => !has(other))) {
      if (isEnough() || address === undefined) return;
      const isOwn = worker.store.id === store.id;
      if (isOwn) await this.#fetch(id, manifestSha256, address);
      else if (!(await this.#askToKeep(leader, { id, manifestSha256, address }, worker))) continue;
      known.add(worker.store.id);
      log.info("a published checkpoint has one copy more", { id, worker: worker.name });
    }
  }

  /** Some have got copies later than etcd tells, and some that it tells of have lost theirs. */
  async #saysToHave(id: string, manifestSha256: string, { name, store }: Worker): Promise<boolean> {
    const { connect, files, run } = this.#options;
    const connection = name === this.#options.name ? null : connect(store.address);
    const file = manifestName;
    try {
      const hash = createHash("sha256");
      for await (const part of connection?.fetch({ run, id, file }) ?? files.read(id, file)) hash.update(part);
      return hash.digest("hex") === manifestSha256;
    } catch {
      return false; // it has none, or is gone: both are no copy
    } finally {
      connection?.close();
    }
  }

  async #askToKeep(
    { era, fencingToken }: Leader,
    { id, manifestSha256, address }: Pick<KeepRequest, "id" | "manifestSha256" | "address">,
    keeper: Worker,
  ): Promise<boolean> {
    const { connect, log, run } = this.#options;
    const connection = connect(keeper.store.address);
    try {
      await connection.keep({ run, id, manifestSha256, address, era, fencingToken });
      return true;
    } catch (error) {
      // Somebody else leads: nothing that is written here will be published.
      if (error instanceof LockstepError && error.code === "fenced-off") throw error;
      log.warn("a worker does not keep a copy of a checkpoint; the next one is asked", {
        ...{ id, worker: keeper.name, reason: messageOf(error) },
      });
      return false;
    } finally {
      connection.close();
    }
  }

  /** @param absence what is wrong with the copy here, which is thrown when there is no better one */
  async #fetchFromAnyone(id: string, absence: CheckpointError, over?: AbortSignal): Promise<void> {
    const { name: own, log, surroundings } = this.#options;
    const { published, holders } = await surroundings.holdersOf(id);
    /** Who has been asked and has none that is whole. */
    const without = [own];
    for (const { name, store } of holders) {
      try {
        await this.#fetch(id, published?.manifestSha256 ?? null, store.address, over);
        log.info("fetched a checkpoint from another worker", { id, worker: name });
        return;
      } catch (error) {
        over?.throwIfAborted();
        const isItsFault = error instanceof CheckpointError && ["missing", "corrupt"].includes(error.problem);
        if (error instanceof CheckpointError && !isItsFault) throw error;
        if (isItsFault) without.push(name);
        this.#sayOnce("warn", "a checkpoint was not got from another worker", {
          id,
          worker: name,
          reason: messageOf(error),
        });
      }
    }
    const away = published?.holders.filter((name) => !without.includes(name)) ?? [];
    throw away.length === 0 ? absence : nobodyThere(id, away, absence);
  }

  /** Whoever waits for a checkpoint asks again and again. */
  #sayOnce(level: "warn" | "error", message: string, fields: Readonly<Record<string, string>>): void {
    const text = JSON.stringify([message, fields]);
    if (!this.#said.has(text)) this.#options.log[level](message, fields);
    this.#said.add(text);
  }

  async #fetch(
    id: string,
    manifestSha256: string | null,
    address: string,
    over?: AbortSignal,
    onReceived?: (bytes: number) => void,
  ): Promise<StoredCheckpoint> {
    const known = this.#fetching.get(id);
    if (known) return known;
    const { connect, files, run } = this.#options;
    const connection = connect(address);
    const source = (file: string) => connection.fetch({ run, id, file }, over);
    const fetching = files.copy(id, manifestSha256, source, onReceived).finally(() => {
      connection.close();
      this.#fetching.delete(id);
    });
    this.#fetching.set(id, fetching);
    return fetching;
  }
}

function nobodyThere(id: string, away: readonly string[], cause: CheckpointError): CheckpointError {
  return new CheckpointError("missing", `No worker that is there has the checkpoint ${id}.`, {
    hint: `Start one of those that kept it: ${away.join(", ")}.`,
    cause,
  });
}

/** What was fetched was whole when it was written: what is wrong is this disk, and not the checkpoint. */
function ownFault(id: string, cause: CheckpointError): CheckpointError {
  return new CheckpointError("unreadable", `The copy of ${id} here was whole a moment ago: ${cause.message}`, {
    hint: "Check this machine's disk; the checkpoint itself is whole on another one.",
    cause,
  });
}
