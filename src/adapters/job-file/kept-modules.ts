/**
 * What tsx makes of the modules of job files, kept in the user's cache. A launch loads the same job file in a dozen processes
 * and threads; the first one compiles it. What is kept is exactly what was loaded then, so a function's text, which is part of what
 * a run is compared by, is the same with it and without.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { cacheDirectory } from "../system/cache.ts";
import { packageRoot } from "../system/package-root.ts";
import { importsOf } from "./digest.ts";
import type { JobModules } from "./module-hooks.ts";
import { fileOfImport } from "./relative-import.ts";

/**
 * The compiled code of all modules of a job file; or none, and where the hooks are to keep each. Only what imports nothing but
 * this package, Node's modules and modules beside it can be loaded without tsx: a package may be TypeScript itself.
 */
export function findKept(files: ReadonlyMap<string, Uint8Array>): JobModules {
  const settings = compilerSettings();
  if (settings === null) return { compiled: new Map(), kept: new Map() };
  const kept = new Map<string, string>();
  const compiled = new Map<string, string>();
  for (const [file, bytes] of files) {
    const url = pathToFileURL(file).href;
    const hash = createHash("sha256").update(settings).update(`${url}\n`).update(bytes);
    const place = path.join(cacheDirectory(), "job-files", `${hash.digest("hex").slice(0, 32)}.mjs`);
    kept.set(url, place);
    const code = read(place);
    if (code !== null && isPlain(code, path.dirname(file), files)) compiled.set(url, code);
  }
  return compiled.size === files.size ? { compiled, kept: new Map() } : { compiled: new Map(), kept };
}

/** All beside a module's text that decides what it compiles to; null where that is not known. */
function compilerSettings(): string | null {
  if (process.env.TSX_TSCONFIG_PATH) return null;
  const versions = `${process.version}\n${readFileSync(path.join(packageRoot, "package.json"), "utf8")}`;
  for (let folder = process.cwd(); ; folder = path.dirname(folder)) {
    const file = path.join(folder, "tsconfig.json");
    const text = read(file);
    if (text !== null) return /"extends"/.test(text) ? null : `${versions}\n${file}\n${text}`;
    if (folder === path.dirname(folder)) return versions;
  }
}

/** Whether a compiled module needs nothing that only tsx finds. Too careful where a text looks like an import. */
function isPlain(code: string, folder: string, files: ReadonlyMap<string, Uint8Array>): boolean {
  if (/\bimport\s*[(.]|\brequire\b/.test(code)) return false;
  return importsOf(code).every((specifier) => {
    if (specifier === "lockstep" || isBuiltin(specifier)) return true;
    if (!/^\.{1,2}\/[^?#]*$/.test(specifier)) return false;
    const file = fileOfImport(path.resolve(folder, specifier));
    return file !== null && files.has(file);
  });
}

function read(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null; // it is not there
  }
}
