/** A cluster of gameday's own: etcd, coordinators and workers as real processes, with a proxy before each of them. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { openEtcd } from "../../adapters/etcd/etcd-coordination.ts";
import { connectControl } from "../../adapters/grpc/control.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import { type EtcdMembers, startEtcdMembers } from "../../adapters/system/etcd-members.ts";
import { prepareEtcd } from "../../adapters/system/etcd-program.ts";
import { createLog } from "../../adapters/system/log.ts";
import { assert, LockstepError, messageOf } from "../../core/errors.ts";
import { failureBudget } from "../../core/failure-budget.ts";
import type { Role } from "../../core/identity.ts";
import type { JobRecord } from "../../core/records.ts";
import { type JobSettings, settingsWords } from "../../core/settings.ts";
import type { Child } from "../child.ts";
import { LocalCluster, type StartArguments } from "../cluster.ts";
import { type LocalCertificates, localCertificates } from "../local-certificates.ts";
import { defaultLimitMs, Logbook } from "./logbook.ts";
import { Network, type NetworkProxy } from "./network.ts";
import { Observer } from "./observer.ts";

/** What the clusters of one gameday have in common. */
export interface ClusterPlan {
  readonly jobPath: string;
  /** For the coordinator; workers take them from the run. */
  readonly settings: JobSettings;
  readonly dataDirectory: string;
  /** --engine, --device and the like, for workers. */
  readonly engineWords: readonly string[];
  readonly threads: number;
  readonly shards: number;
  readonly epochs: number;
  readonly budgetMs: number;
  /** Whether all processes talk TLS. */
  readonly secure: boolean;
}

export interface ClusterOptions extends ClusterPlan {
  readonly job: string;
  readonly directory: string;
  readonly workers: number;
  readonly etcdMembers: number;
  /** A process that nobody holds is started again so often. */
  readonly maxRestarts: number;
  /** Whether proxies lie between the processes. */
  readonly proxied: boolean;
  readonly logLevel: "info" | "debug";
  readonly say: (line: string) => void;
}

export const maxWorkerRestarts = 3;
const stopMs = 30_000;
const controlMs = 5000;

export class GamedayCluster {
  readonly book: Logbook;
  readonly network: Network;
  readonly processes: LocalCluster;
  readonly checkpoints: string;
  readonly observer: Observer;
  readonly record: JobRecord;
  readonly etcd: EtcdMembers;
  readonly options: ClusterOptions;
  readonly #parts: Parts;
  readonly #proxies = new Map<string, NetworkProxy>();
  readonly #starts = new Map<string, () => void>();
  /** Each worker's own ways to etcd. */
  readonly #etcdProxies = new Map<string, readonly string[]>();

  private constructor(options: ClusterOptions, parts: Parts, record: JobRecord) {
    const { etcd, book, network, processes, local } = parts;
    this.#parts = parts;
    parts.onWorkerStart = (child) => this.#workerStarted(child);
    this.options = options;
    this.record = record;
    this.etcd = etcd;
    this.book = book;
    this.network = network;
    this.processes = processes;
    this.checkpoints = join(options.directory, "checkpoints");
    const { requestTimeoutMs, leaseMarginMs } = failureBudget(options.budgetMs);
    const log = createLog({ stream: process.stderr, format: "text", level: "error" });
    const { endpoints } = etcd;
    this.observer = new Observer(
      openEtcd({
        ...{ endpoints, clock: systemClock, log, requestTimeoutMs, leaseMarginMs },
        certificates: local?.operator ?? null,
      }),
      record,
    );
  }

  static async start(options: ClusterOptions): Promise<GamedayCluster> {
    const { directory, job, say, maxRestarts } = options;
    const local = options.secure ? await localCertificates(directory, job, null) : null;
    const logDirectory = join(directory, "logs");
    await mkdir(logDirectory, { recursive: true });
    const book = new Logbook();
    const workers = new Map<number, string>();
    const parts: Parts = {
      ...(await startEtcd(options, local)),
      local,
      book,
      network: new Network(() => workers),
      processes: new LocalCluster({
        logDirectory,
        maxRestarts,
        say,
        onLine: (name, line) => book.add(name, line),
        onStart: (child) => {
          if (!child.name.startsWith("worker-")) return;
          workers.set(child.pid, child.name);
          void child.exited.then(() => workers.delete(child.pid));
          parts.onWorkerStart(child);
        },
      }),
      onWorkerStart: () => {},
      coordinator: "",
    };
    try {
      const { record, address } = await parts.processes.start<{ record: JobRecord; address: string }>(
        "coordinator",
        await coordinatorWords(options, parts, "coordinator"),
        (ready) => {
          parts.coordinator = ready.address;
        },
      );
      parts.coordinator = address;
      const cluster = new GamedayCluster(options, parts, record);
      for (let i = 0; i < options.workers; i++) await cluster.startWorker(`worker-${i}`);
      return cluster;
    } catch (error) {
      await parts.processes.finish("", stopMs);
      await parts.etcd.stop();
      throw error;
    }
  }

  /** Starts a worker and keeps it running. */
  async startWorker(name: string): Promise<void> {
    const { jobPath, job, dataDirectory, engineWords, logLevel, proxied } = this.options;
    const endpoints = proxied ? await this.#etcdProxiesOf(name) : this.etcd.endpoints;
    if (proxied && !this.#proxies.has(name)) this.#proxies.set(name, await this.network.open(name, null, null));
    this.processes.launch(name, [
      ...["worker", jobPath, "--etcd", endpoints.join(","), "--job", job, "--name", name],
      ...["--data", dataDirectory, "--checkpoints", this.checkpoints, "--log-level", logLevel, ...engineWords],
      ...(proxied ? ["--advertise", this.#proxies.get(name)!.address] : []),
      ...(await securityWords(this.#parts, "worker", name)),
    ]);
  }

  /** Starts another coordinator, which stands by. */
  async startCoordinator(name: string): Promise<void> {
    const { again } = await coordinatorWords(this.options, this.#parts, name);
    await this.processes.start(name, { first: again(), again }, () => {});
  }

  child(name: string): Child {
    const child = this.processes.child(name);
    assert(child !== undefined, `${name} was started`);
    return child;
  }

  isAlive(name: string): boolean {
    return this.processes.child(name)?.exit === null;
  }

  /** Resolves when a worker of this name is started next. */
  nextStart(name: string): Promise<void> {
    return new Promise((resolve) => this.#starts.set(name, resolve));
  }

  /** Ends one etcd member by SIGKILL, and returns when it is gone; `restart` starts it again. */
  async killEtcd(index: number): Promise<void> {
    const exited = new Promise<void>((resolve) => this.#parts.etcdExits.set(index, resolve));
    process.kill(this.etcd.members[index]!.pid, "SIGKILL");
    await exited;
  }

  /** All leave together, the state is published, and nothing is left of the cluster. Says what went wrong. */
  async stop(): Promise<readonly string[]> {
    const problems: string[] = [];
    const { processes } = this;
    try {
      processes.letEnd();
      const workers = this.#workerNames();
      const control = connectControl(this.#parts.coordinator, controlMs, this.#parts.local?.operator ?? null);
      await control.stop("gameday is over").finally(() => control.close());
      await processes.finish("worker-", defaultLimitMs);
      for (const name of workers) {
        const exit = processes.child(name)?.exit;
        if (exit?.code !== 0) problems.push(`${name} ended with ${exit?.signal ?? `code ${exit?.code}`} at the stop`);
      }
      await this.#end();
    } catch (error) {
      problems.push(messageOf(error));
    }
    return problems;
  }

  /** Ends what is left, and etcd with it. */
  async close(): Promise<void> {
    await this.observer.close();
    await this.#end();
    await this.network.close();
    await this.etcd.stop();
    this.#parts.local?.operator.close();
  }

  async #end(): Promise<void> {
    this.processes.letEnd();
    await Promise.all(this.processes.names().map((name) => this.processes.child(name)?.stop(stopMs)));
  }

  #workerNames(): readonly string[] {
    return this.processes.names().filter((name) => name.startsWith("worker-") && this.isAlive(name));
  }

  /** Its proxy leads to it from when it listens until it ends. */
  #workerStarted(child: Child): void {
    this.#starts.get(child.name)?.();
    this.#starts.delete(child.name);
    const proxy = this.#proxies.get(child.name);
    if (!proxy) return;
    void child.exited.then(() => proxy.lead(null));
    child.waitFor<{ address: string }>("ready").then(
      ({ address }) => proxy.lead(address),
      () => undefined, // it ended before
    );
  }

  async #etcdProxiesOf(name: string): Promise<readonly string[]> {
    const known = this.#etcdProxies.get(name);
    if (known) return known;
    const opened = await Promise.all(
      this.etcd.endpoints.map((endpoint) => this.network.open("etcd", name, new URL(endpoint).host)),
    );
    const endpoints = opened.map(({ address }) => `${this.options.secure ? "https" : "http"}://${address}`);
    this.#etcdProxies.set(name, endpoints);
    return endpoints;
  }
}

interface Parts {
  readonly local: LocalCertificates | null;
  readonly etcd: StartedEtcd["etcd"];
  readonly etcdExits: StartedEtcd["etcdExits"];
  readonly book: Logbook;
  readonly network: Network;
  readonly processes: LocalCluster;
  onWorkerStart: (child: Child) => void;
  /** Where the first coordinator serves. */
  coordinator: string;
}

interface StartedEtcd {
  readonly etcd: EtcdMembers;
  /** Called with the end of a member that somebody waits for. */
  readonly etcdExits: Map<number, () => void>;
}

/** Its members are started again only by those who ended them. */
async function startEtcd(
  { directory, etcdMembers, say }: ClusterOptions,
  local: LocalCertificates | null,
): Promise<StartedEtcd> {
  const { path: program } = await prepareEtcd(say);
  const etcdExits = new Map<number, () => void>();
  const etcd = await startEtcdMembers({
    program,
    dataDirectory: join(directory, "etcd"),
    tls: local?.etcd ?? null,
    count: etcdMembers,
    log: createLog({ stream: { write: (text: string) => say(text.trimEnd()) }, format: "text", level: "warn" }),
    onExit: (index, exit) => {
      const waiting = etcdExits.get(index);
      etcdExits.delete(index);
      if (waiting) waiting();
      else say(`etcd member ${index} ended by itself: ${exit.lastLines.at(-1) ?? "it wrote nothing"}`);
    },
  });
  return { etcd, etcdExits };
}

/** The words of its first start, and of those after it. */
async function coordinatorWords(
  options: ClusterOptions,
  parts: Pick<Parts, "etcd" | "local">,
  name: string,
): Promise<StartArguments> {
  const { jobPath, job, workers, shards, threads, epochs, budgetMs, logLevel } = options;
  const first = [
    ...["coordinator", jobPath, "--etcd", parts.etcd.endpoints.join(","), "--job", job, "--workers", String(workers)],
    ...["--shards", String(shards), "--threads", String(threads), "--epochs", String(epochs)],
    ...["--failure-budget", String(budgetMs / 1000), "--log-level", logLevel, ...settingsWords(options.settings)],
    ...(await securityWords(parts, "coordinator", name)),
  ];
  return { first, again: () => [...first, "--resume", "same"] };
}

async function securityWords({ local }: Pick<Parts, "local">, role: Role, name: string): Promise<string[]> {
  return local ? ["--tls", await local.folderFor(role, name)] : [];
}

/** The error of a fault that cannot be done here. */
export class NotHere extends LockstepError {
  constructor(reason: string) {
    super("usage", reason);
  }
}
