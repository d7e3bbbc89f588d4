/** Loading TensorFlow's shared libraries, and the addon that is linked to them, into this process. */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { messageOf } from "../../core/errors.ts";
import type { EngineChoice } from "./prepare-engine.ts";

/**
 * Never unloaded, not even when the last thread that uses it ends: TensorFlow's own threads go on, and would run in
 * memory that is gone.
 */
const neverUnload = process.platform === "darwin" ? 0x80 : 0x1000;

/** The exports of a native addon, which belong to the thread that calls. */
export function loadAddon(path: string): unknown {
  const target = { exports: {} };
  process.dlopen(target, path, constants.dlopen.RTLD_LAZY | neverUnload);
  return target.exports;
}

/** Beside the binding that it was compiled with; where that was fetched there is none. */
export const quietLoaderName = "load_quietly.node";

interface QuietLoader {
  /** Why the library cannot be loaded, or null. */
  load(path: string): string | null;
}

function quietLoader(bindingPath: string | null): QuietLoader | null {
  const path = join(dirname(bindingPath ?? ""), quietLoaderName);
  return existsSync(path) ? (loadAddon(path) as QuietLoader) : null; // what its source defines
}

/**
 * Loads the libraries alone: a quarter of a second of work that the thread which opens the engine later finds done, as
 * libraries belong to the process. As with `openEngine`, the environment says before what they read from it. Returns why
 * one cannot be loaded, or null; `openEngine` then says so itself.
 */
export function preloadLibraries(choice: Pick<EngineChoice, "libraryPaths" | "bindingPath">): string | null {
  const quiet = quietLoader(choice.bindingPath);
  for (const path of choice.libraryPaths) {
    const why = quiet?.load(path) ?? null;
    if (why !== null) return why;
    if (quiet) continue;
    try {
      loadAddon(path);
    } catch (error) {
      // Node looks for an addon in whatever it has loaded, and a library is none.
      if (!/self-register/.test(messageOf(error))) return messageOf(error);
    }
  }
  return null;
}
