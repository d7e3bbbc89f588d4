import { realpath, stat } from "node:fs/promises";
import * as nodeModule from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { LockstepError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import { validateJob } from "../../core/job-validation.ts";
import { RandomStream } from "../../core/random.ts";
import { type JobSettings, noSettings } from "../../core/settings.ts";
import { seededWhile } from "../../ports/seeded.ts";
import { readSources } from "./digest.ts";
import { describeFailure } from "./failure.ts";
import { findKept } from "./kept-modules.ts";
import { initialize, type JobModules, loadSync, resolveSync } from "./module-hooks.ts";

export interface LoadedJob {
  readonly job: Job;
  /** Absolute. */
  readonly path: string;
  /** The folder of the file; relative data paths start here. */
  readonly directory: string;
  /** "sha256:…" over the bytes of the file and of the files that it imports by relative paths. */
  readonly digest: string;
}

/** What a job file may be. */
export const jobExtensions: readonly string[] = [".ts", ".mts", ".js", ".mjs"];

/**
 * Loads a job file: an ES module in TypeScript or JavaScript whose default export is a job. In the file,
 * "lockstep" means this package, wherever the file lies. Everything wrong with the file is an "invalid-job" error that
 * begins with its path. A file is loaded once a process; later calls give the same job for the same settings.
 * @param settings what is said beside the file; one that there cannot be is "usage"
 */
export async function loadJob(jobPath: string, settings: JobSettings = noSettings): Promise<LoadedJob> {
  const file = path.resolve(jobPath);
  await checkFile(file, jobPath);
  const realFile = await realpath(file); // what Node.js resolves relative imports from, and names in stacks
  const { digest, files } = await readSources(realFile);
  const registered = registering.then(() => registerHooks(files));
  registering = registered.catch(() => undefined);
  await registered;
  // The seed is in the file, so it is not known yet: what the file draws while it is loaded is the same in every run.
  const drawn = new RandomStream(0, "job-file");
  const exported = defaultExport(await seededWhile(drawn, () => importModule(realFile, jobPath)), jobPath);
  const job = await seededWhile(new RandomStream(0, "job-file"), async () =>
    validated(exported, settings, realFile, jobPath),
  );
  return { job, path: file, directory: path.dirname(file), digest };
}

async function checkFile(file: string, written: string): Promise<void> {
  if (!jobExtensions.includes(path.extname(file))) {
    throw new LockstepError(
      "invalid-job",
      `The job file ${written} is no module; expected a ${jobExtensions.join(", ")} file.`,
    );
  }
  let isFile: boolean;
  try {
    isFile = (await stat(file)).isFile();
  } catch (cause) {
    throw new LockstepError("invalid-job", `There is no job file ${written} (looked for ${file}).`, { cause });
  }
  if (!isFile) throw new LockstepError("invalid-job", `The job file ${written} is a folder; expected a file.`);
}

async function importModule(file: string, written: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (cause) {
    throw describeFailure(cause, file, written);
  }
}

function defaultExport(module: Readonly<Record<string, unknown>>, written: string): unknown {
  if ("default" in module) return module.default;
  const others = Object.keys(module);
  throw new LockstepError(
    "invalid-job",
    `The job file ${written} has no default export${others.length > 0 ? `, only ${others.join(", ")}` : ""}.`,
    { hint: "Write export default defineJob({ … })." },
  );
}

function validated(exported: unknown, settings: JobSettings, file: string, written: string): Job {
  try {
    return validateJob(exported, settings);
  } catch (error) {
    // What the function of the parameters throws is the job file's.
    if (!(error instanceof LockstepError)) throw describeFailure(error, file, written);
    if (error.code === "usage") throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new LockstepError(error.code, `${written}: ${error.message}`, { ...hint, cause: error });
  }
}

// Where this module itself is TypeScript, tsx is there already.
let hasTsx = import.meta.url.endsWith(".ts");
let areOwnHooksFirst = false;
/** One after the other, as a thread may load several job files at once. */
let registering = Promise.resolve();
/** The files that the hooks know of. */
const known = new Set<string>();

/**
 * In every thread that loads a job file: hooks that compile TypeScript, which are tsx, and ours before them. tsx takes a quarter
 * of a second, so what it has made of a job file is kept, and where all of that is there, tsx is not loaded.
 */
async function registerHooks(files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const modules = hasTsx ? null : findKept(files);
  if (!hasTsx && modules?.compiled.size === 0) {
    (await import("tsx/esm/api")).register();
    hasTsx = true;
    areOwnHooksFirst = false; // hooks that are registered later are asked first
  }
  const isNews = modules !== null && [...files.keys()].some((file) => !known.has(file));
  if (areOwnHooksFirst && !isNews) return;
  for (const file of files.keys()) known.add(file);
  areOwnHooksFirst = true;
  // Stacks name the line of the source, as they do with tsx.
  process.setSourceMapsEnabled(true);
  register(modules);
}

function register(modules: JobModules | null): void {
  // Only Node.js 22.15 and newer has this function, so the types of Node.js 20 do not know it.
  const { registerHooks: registerSynchronous } = nodeModule as {
    registerHooks?: (hooks: { resolve: typeof resolveSync; load: typeof loadSync }) => void;
  };
  const data = modules ?? undefined;
  if (registerSynchronous) {
    initialize(data);
    registerSynchronous({ resolve: resolveSync, load: loadSync });
  } else nodeModule.register("./module-hooks.ts", import.meta.url, { data });
}
