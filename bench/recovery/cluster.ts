/** A cluster that `lockstep launch` has started, as a benchmark sees it: its status, and its logs at the end. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectControl } from "../../src/adapters/grpc/control.ts";
import type { RegisteredRun } from "../../src/adapters/system/run-registry.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { parseLogLine } from "../../src/adapters/fs/process-log.ts";
import type { LogLine } from "../../src/core/log-reading.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import type { LogLevel } from "../../src/ports/log.ts";

const program = fileURLToPath(new URL("../../bin/lockstep.mjs", import.meta.url));
/** Seldom: whoever asks takes time from those who train. */
const pollMs = 250;
const controlDeadlineMs = 2000;
const stopMs = 60_000;

export interface TrainingOptions {
  /** As the job file calls it. */
  readonly job: string;
  readonly workers: number;
  /** Of the processes' logs; "debug", the default, has every step. */
  readonly logLevel?: LogLevel;
  /** More words for `launch`. */
  readonly words?: readonly string[];
  /** Beside this process' own. */
  readonly environment?: Readonly<Record<string, string>>;
}

export class TrainingCluster {
  readonly #folder: string;
  readonly #job: string;
  readonly #launch: ChildProcess;
  readonly #exited: Promise<void>;
  #ended = false;
  #errors = "";

  /** `folder` is the cluster's own; `jobFile` may lie elsewhere. */
  constructor(folder: string, jobFile: string, options: TrainingOptions) {
    const { job, workers, logLevel = "debug", words: more = [], environment } = options;
    this.#folder = folder;
    this.#job = job;
    // As the peers have.
    const threads = ["--threads", "1"];
    const words = [
      ...threads,
      "--workers",
      String(workers),
      "--log-level",
      logLevel,
      "--directory",
      join(folder, "run"),
      "--json",
      ...more,
    ];
    this.#launch = spawn(process.execPath, [program, "launch", jobFile, ...words], {
      cwd: folder,
      env: { ...process.env, ...environment, XDG_STATE_HOME: join(folder, "state") },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#launch.stderr?.on("data", (text) => {
      this.#errors += text;
    });
    this.#exited = new Promise((resolve) => {
      this.#launch.once("close", () => {
        this.#ended = true;
        resolve();
      });
    });
  }

  /** Of the launch itself. */
  get pid(): number {
    return this.#launch.pid!;
  }

  /** Resolves with the first status that matches; rejects when the launch ends first, or after `limitMs`. */
  async whenStatus(what: string, limitMs: number, matches: (status: ClusterStatus) => boolean): Promise<ClusterStatus> {
    const deadline = systemClock.monotonicMs() + limitMs;
    while (systemClock.monotonicMs() < deadline) {
      if (this.#ended) throw new Error(`The launch ended before ${what}:\n${this.#errors}`);
      const status = await this.#status();
      if (status && matches(status)) return status;
      await systemClock.sleep(pollMs);
    }
    throw new Error(`Within ${limitMs / 1000} s there was no sign of ${what}.`);
  }

  /** Resolves when training has come to its end; rejects when it does not within `limitMs`. */
  async whenEnded(limitMs: number): Promise<void> {
    const timer = new AbortController();
    const late = systemClock.sleep(limitMs, timer.signal).then(() => "late");
    const outcome = await Promise.race([this.#exited, late]);
    timer.abort();
    if (outcome === "late") throw new Error(`Training did not end within ${limitMs / 1000} s.`);
    if (this.#launch.exitCode !== 0)
      throw new Error(`The launch ended with ${this.#launch.exitCode}:\n${this.#errors}`);
  }

  /** Ends everything in order; what does not end is killed. */
  async stop(): Promise<void> {
    if (!this.#ended) this.#launch.kill("SIGINT");
    const timer = new AbortController();
    const late = systemClock.sleep(stopMs, timer.signal).then(
      () => this.#launch.kill("SIGKILL"),
      () => undefined,
    );
    await this.#exited;
    timer.abort();
    await late;
  }

  /** What coordinator and workers have logged, each process' lines in order. */
  async logs(): Promise<LogLine[]> {
    const folder = join(this.#folder, "run", "logs");
    // A launch that failed early has none.
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".log"));
    const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
    return texts.flatMap((text, i) => {
      const process = names[i]!.replace(/\.log$/, "");
      return text.split("\n").flatMap((line) => parseLogLine(process, line) ?? []);
    });
  }

  /** What it is doing; waits until it says so. */
  async now(): Promise<ClusterStatus> {
    return this.whenStatus("an answer", 10_000, () => true);
  }

  /** Where the coordinator serves HTTP. */
  async http(): Promise<string> {
    const { http } = await this.#registered();
    if (http === null) throw new Error("The coordinator serves no HTTP.");
    return http;
  }

  /** Where coordinator and workers serve HTTP, by the process, as they have logged it last. */
  async httpOfAll(): Promise<ReadonlyMap<string, string>> {
    const addresses = new Map<string, string>();
    for (const { process, message, http } of await this.logs()) {
      if (message === "serving HTTP") addresses.set(process, String(http));
    }
    return addresses;
  }

  async etcdPids(): Promise<readonly number[]> {
    return (await this.#registered()).etcdPids;
  }

  async #registered(): Promise<RegisteredRun> {
    const file = join(this.#folder, "state", "lockstep", "jobs", `${this.#job}.json`);
    return JSON.parse(await readFile(file, "utf8")) as RegisteredRun; // written by launch
  }

  async #status(): Promise<ClusterStatus | null> {
    try {
      const { coordinator } = await this.#registered();
      const control = connectControl(coordinator, controlDeadlineMs, null);
      try {
        return await control.status();
      } finally {
        control.close();
      }
    } catch {
      return null; // not there yet, or just killed
    }
  }
}
