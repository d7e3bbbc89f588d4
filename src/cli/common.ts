/** What several commands share: ids, logs, and the options that they have in common. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createLog } from "../adapters/system/log.ts";
import type { EngineChoice } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError } from "../core/errors.ts";
import { nearestName } from "../core/nearest-name.ts";
import { type FailureBudget, failureBudget } from "../core/failure-budget.ts";
import { type JobSettings, parseSettings } from "../core/settings.ts";
import type { DataPlace } from "../ports/dataset.ts";
import type { Device, EngineKind } from "../ports/engine.ts";
import type { Log, LogFields, LogLevel } from "../ports/log.ts";
import type { RunRequest } from "../runtime/open-run.ts";
import type { Arguments, Option } from "./command.ts";

export const engineKinds = ["native", "wasm", "cpu"] as const satisfies readonly EngineKind[];
export const devices = ["cpu", "gpu"] as const satisfies readonly Device[];
export const logLevels = ["debug", "info", "warn", "error"] as const satisfies readonly LogLevel[];

/** Options that mean the same wherever they appear. */
export const shared = {
  data: { value: "DIR", help: "where the job's data files are (default: data/ beside the job file, or its folder)" },
  dataMemory: {
    value: "MIB",
    help: "so many MiB of samples may be in memory; what takes more is read from disk (default: 2048)",
  },
  engine: { value: "KIND", help: "native, wasm or cpu (default: the best there is)" },
  device: { value: "DEVICE", help: "cpu or gpu (default: a GPU where there is one)" },
  etcd: { value: "URL,…", help: "etcd's endpoints, as http://host:2379" },
  job: { value: "NAME", help: "the job's name (default: the one in the job file)" },
  json: { value: null, help: "print JSON" },
  set: {
    value: "FIELD=VALUE",
    help: "as if a field of the job file said so, as batchSize=64; several times for several",
    multiple: true,
  },
  param: {
    value: "NAME=VALUE",
    help: "another value for a parameter of the job file; several times for several",
    multiple: true,
  },
  workers: {
    value: "N|MIN:MAX",
    help: "how many workers a start waits for; or with how few it starts and goes on, and how many it takes (default: 1)",
  },
  run: { value: "N", help: "go on with this run of the job (default: the one that was trained last)" },
  replicas: {
    value: "N",
    help: "each worker has checkpoints of its own, and N others keep a copy of each (default: 0: all share a directory)",
  },
  failureBudget: { value: "SECONDS", help: "how long a silence may last before it counts as a failure (default: 5)" },
  logLevel: { value: "LEVEL", help: "debug, info, warn or error (default: info)" },
} satisfies Record<string, Option>;

/** Eight random letters and digits; ids made of them are never used twice. */
export function newId(): string {
  const letters = "0123456789abcdefghjkmnpqrstvwxyz"; // 32 of them, without those that are easily confused
  return [...randomBytes(8)].map((byte) => letters[byte % 32]!).join("");
}

/** A log on standard error, as every long-running process keeps one. */
export function processLog(args: Arguments, context?: () => LogFields): Log {
  const format = process.stderr.isTTY ? "text" : "json";
  const level = args.oneOf("log-level", logLevels) ?? "info";
  return createLog({ stream: process.stderr, format, level, ...(context && { context }) });
}

/** `--set` and `--param`. */
export function settingsOf(args: Arguments): JobSettings {
  return parseSettings(args.list("set"), args.list("param"));
}

export function endpointsOf(args: Arguments): readonly string[] {
  const text = args.text("etcd") ?? process.env.ETCD_ENDPOINTS;
  if (!text) {
    throw new LockstepError("usage", "--etcd is missing: this process needs etcd's endpoints.", {
      hint: "Give them as --etcd http://127.0.0.1:2379, or let `lockstep launch` start everything.",
    });
  }
  return parseEndpoints(text);
}

export function parseEndpoints(text: string): readonly string[] {
  return text.split(",").map((endpoint) => {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
    if (!url || !/^https?:$/.test(url.protocol)) {
      throw new LockstepError(
        "usage",
        `--etcd names ${JSON.stringify(endpoint)}; a URL such as http://127.0.0.1:2379 was expected.`,
      );
    }
    return url.origin;
  });
}

export function budgetOf(args: Arguments): FailureBudget {
  const text = args.text("failure-budget");
  if (text === undefined) return failureBudget();
  if (!/^\d+(\.\d+)?$/.test(text)) {
    throw new LockstepError(
      "usage",
      `--failure-budget is ${JSON.stringify(text)}; a number of seconds was expected, as 5 or 7.5.`,
    );
  }
  return failureBudget(Math.round(Number(text) * 1000));
}

/** `--workers N` or `--workers MIN:MAX`. */
export function workersOf(args: Arguments): {
  /** How many a start waits for. */
  readonly workers: number;
  readonly bounds: { readonly min: number; readonly max: number } | null;
} {
  const text = args.text("workers") ?? "1";
  const [min, max = min] = text.split(":").map(Number);
  if (!/^[1-9]\d*(:[1-9]\d*)?$/.test(text) || max! < min!) {
    throw new LockstepError(
      "usage",
      `--workers is ${JSON.stringify(text)}; a whole number of at least 1 was expected, or MIN:MAX with MIN at most MAX.`,
    );
  }
  return { workers: min!, bounds: text.includes(":") ? { min: min!, max: max! } : null };
}

/** `--resume`: a word, or the id of a checkpoint; `words` are allowed beside those that everybody may say. */
export function resumeOf(args: Arguments, ...words: "same"[]): RunRequest["resume"] {
  const text = args.text("resume") ?? "auto";
  const known = ["auto", "never", ...words].find((word) => word === text);
  if (known !== undefined) return known as "auto" | "never" | "same"; // one of those above
  const near = nearestName(text, ["auto", "never", "best", "latest", ...words]);
  if (text === "best" || text === "latest" || (near === null && /^[A-Za-z0-9._-]{3,}$/.test(text))) {
    return { checkpoint: text };
  }
  throw new LockstepError(
    "usage",
    `--resume is ${JSON.stringify(text)}; one of ${["auto", "never", "best", "latest", ...words].join(", ")}, or the id of a checkpoint or a part of it was expected.`,
    { hint: near ? `Is ${near} meant?` : "`lockstep checkpoints list` shows the ids." },
  );
}

/** `--run`, which says what `--resume` goes on with. */
export function runOf(args: Arguments): number | null {
  const run = args.whole("run", 1) ?? null;
  const resume = args.text("resume");
  if (run === null || (resume !== "never" && resume !== "same")) return run;
  throw new LockstepError(
    "usage",
    `--run ${run} names a run to go on with, and --resume ${resume} goes on with ${resume === "never" ? "none" : "the one under way"}.`,
    {
      hint: "Give one of the two.",
    },
  );
}

export function wishOf(args: Arguments): { engine: "auto" | EngineKind; device: "auto" | Device } {
  return { engine: args.oneOf("engine", engineKinds) ?? "auto", device: args.oneOf("device", devices) ?? "auto" };
}

/** Where relative data paths lead: --data, else the folder `data` beside the job file, else the job file's own. */
export function dataPlaceOf(args: Arguments, jobDirectory: string): DataPlace {
  const given = args.text("data");
  const directory = given !== undefined ? resolve(given) : dataBeside(jobDirectory);
  const memoryMiB = args.whole("data-memory", 1);
  return { directory, memoryBytes: memoryMiB === undefined ? undefined : memoryMiB * 2 ** 20 };
}

/** The words that tell another process the same. */
export function dataWords({ directory, memoryBytes }: DataPlace): string[] {
  const memory = memoryBytes === undefined ? [] : ["--data-memory", String(memoryBytes / 2 ** 20)];
  return ["--data", directory, ...memory];
}

/** Where a job's data are when nobody says otherwise. */
export function dataBeside(jobDirectory: string): string {
  const beside = join(jobDirectory, "data");
  return existsSync(beside) ? beside : jobDirectory;
}

/** "host:port" with a port from 0 to 65535. */
export function addressOf(args: Arguments, name: string, fallback: string): string {
  return checkedAddress(name, args.text(name) ?? fallback);
}

/** Of an option that takes several, with commas between them. */
export function addressesOf(args: Arguments, name: string): readonly [string, ...string[]] {
  const [first = "", ...others] = (args.text(name) ?? "").split(",");
  return [checkedAddress(name, first), ...others.map((text) => checkedAddress(name, text))];
}

/** @param name of the option */
export function checkedAddress(name: string, text: string, example = "127.0.0.1:0"): string {
  const port = Number(text.slice(text.lastIndexOf(":") + 1));
  if (!/^.+:\d+$/.test(text) || port > 65535) {
    throw new LockstepError(
      "usage",
      `--${name} is ${JSON.stringify(text)}; an address such as ${example} was expected.`,
    );
  }
  return text;
}

/** Puts the engine's settings into this process' real environment, where the library finds them. */
export function applyEnvironment(environment: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(environment)) process.env[name] = value;
}

/** Runs `stop` on Ctrl-C, on SIGTERM, and when the process that started this one is gone; a second signal ends at once. */
export function onStopSignal(stop: (why: string) => void): () => void {
  let asked = false;
  const handler = (signal: NodeJS.Signals) => {
    if (asked) process.exit(130);
    asked = true;
    stop(signal);
  };
  process.on("SIGINT", handler);
  process.on("SIGTERM", handler);
  return () => {
    process.off("SIGINT", handler);
    process.off("SIGTERM", handler);
  };
}

export type { EngineChoice };
