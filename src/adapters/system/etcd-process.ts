/** A real etcd, on loopback, started and supervised for one job: one that stands alone, or one member of several. */
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { request as secureRequest } from "node:https";
import { createServer } from "node:net";
import { join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Log } from "../../ports/log.ts";
import { type CertificateTexts, fileNames, readTexts } from "../tls/certificates.ts";
import { type ProcessExit, type RunningProcess, startProcess } from "./child-process.ts";
import { systemClock } from "./clock.ts";

export interface EtcdServerOptions {
  readonly program: string;
  /** Made when it is not there; an etcd of before goes on with what it holds. */
  readonly dataDirectory: string;
  readonly log: Log;
  /** Called when etcd ends without having been stopped; `restart` may then be called. */
  readonly onExit: (exit: EtcdExit) => void;
  /** How long etcd may take until it answers. Default 30 s: a killed run's etcd holds the data until its guard ends it. */
  readonly readyTimeoutMs?: number;
  /** How long etcd outlives this process if that is killed, so that workers can end in order. Default 10 s. */
  readonly guardGraceMs?: number;
  /** The folder of its certificates, with which it serves and calls the others; null, or left out: in plain text. */
  readonly tls?: string | null;
  /** Its place among several; left out, it stands alone. */
  readonly member?: EtcdMember;
}

/** One of several members, see etcd-members.ts. It answers once most of them are there. */
export interface EtcdMember {
  readonly name: string;
  /** The others know them, so they stay the same over every restart. */
  readonly ports: EtcdPorts;
  /** All members, as etcd's `--initial-cluster` wants them. */
  readonly cluster: string;
}

export interface EtcdExit extends ProcessExit {
  /** The last lines that etcd wrote, oldest first. */
  readonly lastLines: readonly string[];
}

export interface EtcdServer {
  /** As "http://127.0.0.1:port", or "https:". Stays the same over a restart unless another process took the port meanwhile. */
  readonly endpoint: string;
  readonly pid: number;
  /** One call of its HTTP interface. */
  ask(method: "GET" | "POST", path: string, signal: AbortSignal): Promise<string>;
  /** Starts etcd again on the same data after an exit; returns when it answers. */
  restart(): Promise<void>;
  /** SIGTERM, after 5 s SIGKILL; returns when etcd is gone. */
  stop(): Promise<void>;
}

export interface EtcdPorts {
  readonly client: number;
  readonly peer: number;
}

/** etcd answers, or it has ended before it did. */
type StartOutcome = { readonly process: RunningProcess } | { readonly exit: EtcdExit };

const defaultReadyTimeoutMs = 30_000;
const defaultGuardGraceMs = 10_000;
const stopGraceMs = 5_000;
const askEveryMs = 10;
const askTimeoutMs = 1_000;
const startAttempts = 5;
const keptLines = 100;

/** Starts etcd and returns when it answers; "coordination-unavailable", with etcd's last lines, when it does not. */
export async function startEtcd(options: EtcdServerOptions): Promise<EtcdServer> {
  const server = new SupervisedEtcd(options);
  await server.start(options.member?.ports ?? null);
  return server;
}

class SupervisedEtcd implements EtcdServer {
  readonly #options: EtcdServerOptions;
  #ports: EtcdPorts | null = null;
  #process: RunningProcess | null = null;
  #stopped = false;
  #certificates: CertificateTexts | null = null;

  constructor(options: EtcdServerOptions) {
    this.#options = options;
  }

  get endpoint(): string {
    return `${schemeOf(this.#options.tls ?? null)}://127.0.0.1:${this.#ports?.client}`;
  }

  ask(method: "GET" | "POST", path: string, signal: AbortSignal): Promise<string> {
    return ask(method, this.#ports?.client ?? 0, path, signal, this.#certificates);
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async restart(): Promise<void> {
    if (this.#process?.exit === null) throw new LockstepError("internal", `etcd (pid ${this.pid}) still runs.`);
    if (this.#stopped) throw new LockstepError("internal", "etcd was stopped; it is not started again.");
    await this.start(this.#ports);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#process?.stop(stopGraceMs);
  }

  /** Tries the ports of before first: clients that know them find etcd again by themselves. */
  async start(portsOfBefore: EtcdPorts | null): Promise<void> {
    const { program, dataDirectory, tls = null } = this.#options;
    this.#certificates = tls === null ? null : await readTexts(tls);
    try {
      await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new LockstepError(
        "coordination-unavailable",
        `Cannot make etcd's data directory ${dataDirectory}: ${messageOf(cause)}.`,
        { hint: "Choose a place that this user may write to.", cause },
      );
    }
    let ports = portsOfBefore ?? (await freePorts());
    for (let attempt = 1; ; attempt += 1) {
      this.#ports = ports;
      const outcome = await this.#startOn(ports);
      if ("process" in outcome) return;
      const { lastLines, code, signal } = outcome.exit;
      // The only evidence there is: etcd ends with the same code for every reason.
      const portTaken = lastLines.some((line) => line.includes("address already in use"));
      if (!portTaken || this.#options.member || attempt === startAttempts || this.#stopped) {
        throw new LockstepError(
          "coordination-unavailable",
          `etcd (${program}, data in ${dataDirectory}) ended before it answered, with ${signal ?? `code ${code}`}: ${complaint(lastLines)}.`,
          {
            hint: "Its last lines say why; a data directory of a newer etcd, or one that is damaged, is the usual cause.",
          },
        );
      }
      ports = await freePorts();
    }
  }

  async #startOn(ports: EtcdPorts): Promise<StartOutcome> {
    const { program, log, onExit } = this.#options;
    const { member } = this.#options;
    const name = member?.name ?? newEtcdName();
    const lastLines: string[] = [];
    const etcd = await startProcess({
      program,
      args: etcdArguments(name, this.#options, ports),
      environment: etcdEnvironment(),
      guardGraceMs: this.#options.guardGraceMs ?? defaultGuardGraceMs,
      onLine: (line) => {
        lastLines.push(line);
        if (lastLines.length > keptLines) lastLines.shift();
        log.debug("etcd says", { line });
      },
    });
    this.#process = etcd;
    // `stop` may have been called while this one was being started.
    if (this.#stopped) await etcd.stop(stopGraceMs);
    const exit = etcd.exited.then((ended) => ({ ...ended, lastLines }));
    const ready = new AbortController();
    const outcome = await Promise.race([
      this.#untilReady(name, ports, ready.signal).then((): StartOutcome => ({ process: etcd })),
      exit.then((ended): StartOutcome => ({ exit: ended })),
    ])
      .catch(async (error: unknown) => {
        await etcd.stop(stopGraceMs);
        throw error;
      })
      .finally(() => ready.abort());
    if ("process" in outcome) {
      log.debug("etcd answers", { endpoint: this.endpoint, pid: etcd.pid });
      void exit.then((ended) => {
        if (!this.#stopped) onExit(ended);
      });
    }
    return outcome;
  }

  /** Asks until the etcd of this name, not another one on the same port, says that it is healthy. */
  async #untilReady(name: string, ports: EtcdPorts, signal: AbortSignal): Promise<void> {
    const { log, readyTimeoutMs = defaultReadyTimeoutMs } = this.#options;
    const startMs = systemClock.monotonicMs();
    let lastAnswer = "nothing";
    let told = false;
    while (!signal.aborted) {
      try {
        const members = await this.ask("POST", "/v3/cluster/member/list", signal);
        const health = await this.ask("GET", "/health", signal);
        lastAnswer = health;
        if (members.includes(`"${name}"`) && health.includes(`"true"`)) return;
      } catch (error) {
        lastAnswer = messageOf(error);
      }
      const waitedMs = systemClock.monotonicMs() - startMs;
      if (waitedMs > readyTimeoutMs) {
        throw new LockstepError(
          "coordination-unavailable",
          `etcd did not answer on port ${ports.client} within ${readyTimeoutMs} ms; last: ${lastAnswer}.`,
          { hint: `Another etcd may still hold ${this.#options.dataDirectory}; wait for it to end, or stop it.` },
        );
      }
      if (!told && waitedMs > 2_000) {
        told = true;
        log.info("waiting for etcd to answer", { endpoint: this.endpoint, last: lastAnswer });
      }
      await systemClock.sleep(askEveryMs, signal).catch(() => undefined);
    }
  }
}

export function schemeOf(tls: string | null): "http" | "https" {
  return tls === null ? "http" : "https";
}

function etcdArguments(
  name: string,
  { dataDirectory, tls = null, member }: EtcdServerOptions,
  { client, peer }: EtcdPorts,
): string[] {
  const cluster = member?.cluster ?? null;
  const clientUrl = `${schemeOf(tls)}://127.0.0.1:${client}`;
  const peerUrl = `${schemeOf(tls)}://127.0.0.1:${peer}`;
  const flags = {
    name,
    "data-dir": dataDirectory,
    "listen-client-urls": clientUrl,
    "advertise-client-urls": clientUrl,
    // One that stands alone is never called here, but etcd insists on it.
    "listen-peer-urls": peerUrl,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": cluster ?? `${name}=${peerUrl}`,
    logger: "zap",
    "log-outputs": "stderr",
    "log-level": "warn",
    // A single member has nobody to lose an election to: it may hold one soon, and answers so much sooner.
    "heartbeat-interval": cluster === null ? 20 : 100,
    "election-timeout": cluster === null ? 200 : 1_000,
    // Nobody reads old revisions, and watches begin at the present.
    "auto-compaction-mode": "revision",
    "auto-compaction-retention": 1_000,
    // In memory between two snapshots: this many writes.
    "snapshot-count": 10_000,
    ...(tls !== null && { ...secureFlags("", tls), ...secureFlags("peer-", tls) }),
  };
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
}

/** For clients, or for other members: a certificate of its own, and one of the same authority is demanded. */
function secureFlags(whom: "" | "peer-", folder: string): Readonly<Record<string, string | boolean>> {
  return {
    [`${whom}cert-file`]: join(folder, fileNames.certificate),
    [`${whom}key-file`]: join(folder, fileNames.key),
    [`${whom}trusted-ca-file`]: join(folder, fileNames.ca),
    [`${whom}client-cert-auth`]: true,
  };
}

export function newEtcdName(): string {
  return `lockstep-${randomBytes(6).toString("hex")}`;
}

/** What etcd's last lines say of why it ended: they are JSON, but for a panic's, whose stack says nothing to a user. */
function complaint(lastLines: readonly string[]): string {
  const reasons = lastLines.flatMap((line) => {
    if (line.startsWith("panic:")) return [line];
    try {
      const { level, msg, error } = JSON.parse(line);
      return ["error", "fatal", "panic"].includes(level) ? [error ? `${msg}: ${error}` : String(msg)] : [];
    } catch {
      return [];
    }
  });
  const telling = reasons.length > 0 ? reasons : lastLines;
  return [...new Set(telling)].slice(-3).join(" | ") || "it wrote nothing";
}

/** etcd takes every flag from the environment too; one meant for another etcd must not change this one. */
function etcdEnvironment(): NodeJS.ProcessEnv {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_")));
  // etcd 3.4 starts on arm64 only when told to.
  if (process.arch === "arm64") environment.ETCD_UNSUPPORTED_ARCH = "arm64";
  return environment;
}

/** Two ports that are free now; etcd says so by its end if one is taken before it gets there. */
export async function freePorts(): Promise<EtcdPorts> {
  const servers = await Promise.all([listenAnywhere(), listenAnywhere()]);
  await Promise.all(servers.map(({ close }) => close()));
  const [client, peer] = servers;
  return { client: client!.port, peer: peer!.port };
}

async function listenAnywhere(): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new LockstepError("internal", "No port was given.");
  return {
    port: address.port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function ask(
  method: "GET" | "POST",
  port: number,
  path: string,
  signal: AbortSignal,
  certificates: CertificateTexts | null,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method, agent: false, signal, timeout: askTimeoutMs } as const;
    const asking =
      certificates === null
        ? request(options)
        : secureRequest({ ...options, ca: certificates.ca, cert: certificates.certificate, key: certificates.key });
    asking.on("timeout", () => asking.destroy(new Error(`no answer within ${askTimeoutMs} ms`)));
    asking.on("error", reject);
    asking.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve(body));
      response.on("error", reject);
    });
    asking.end(method === "POST" ? "{}" : undefined);
  });
}
