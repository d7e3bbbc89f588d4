import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { packageRoot } from "../system/package-root.ts";
import { fileOfImport } from "./relative-import.ts";

export interface ModuleSources {
  /**
   * "sha256:…" over a module's bytes and those of the files that it imports, by relative or absolute paths, file: URLs or
   * the "imports" of a package.json, and they in turn; in the order of the imports, so that the names and places of folders
   * play no part. Of a package its name and version count; it is not followed, and neither are Node's own modules.
   */
  readonly digest: string;
  /** Those files, the module itself among them, by their real paths. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export async function readSources(file: string): Promise<ModuleSources> {
  const hash = createHash("sha256");
  const files = new Map<string, Uint8Array>();
  const seen = new Set<string>();
  await add(file);
  return { digest: `sha256:${hash.digest("hex")}`, files };

  async function add(next: string): Promise<void> {
    if (seen.has(next)) return;
    seen.add(next);
    const bytes = await readFile(next);
    files.set(next, bytes);
    hash.update(`${bytes.length}\n`).update(bytes);
    for (const specifier of importsOf(bytes.toString())) await addImport(specifier, path.dirname(next));
  }

  async function addImport(specifier: string, folder: string): Promise<void> {
    if (specifier.startsWith("#")) {
      const { directory, targets } = await ownImport(specifier, folder);
      for (const target of targets) await addImport(target, directory);
      return;
    }
    const place = placeOf(specifier, folder);
    if (place === null) {
      if (!isBuiltin(specifier)) hash.update(`${await versionOf(specifier, folder)}\n`);
      return;
    }
    const imported = fileOfImport(place);
    if (imported !== null) await add(imported);
    // Into a package, past its name.
    else if (place.split(path.sep).includes("node_modules")) hash.update(`${await versionAt(place)}\n`);
  }
}

/** The absolute path that an import names; null for a package. A query or a fragment is no part of it. */
function placeOf(specifier: string, folder: string): string | null {
  if (specifier.startsWith("file:")) return URL.canParse(specifier) ? fileURLToPath(new URL(specifier)) : null;
  if (!/^(?:\.{1,2}\/|\/|[A-Za-z]:[\\/])/.test(specifier)) return null;
  return path.resolve(folder, specifier.replace(/[?#].*$/, ""));
}

/** All that an import such as "#sizes" may mean, whatever the conditions: a digest may be too careful. */
async function ownImport(specifier: string, folder: string): Promise<{ directory: string; targets: string[] }> {
  const { directory, manifest } = await nearestManifest(folder);
  const imports = (manifest.imports ?? {}) as Readonly<Record<string, unknown>>;
  const targets = Object.entries(imports).flatMap(([name, value]) => {
    const [before, after] = name.split("*") as [string, string?];
    if (after === undefined) return name === specifier ? stringsIn(value) : [];
    if (!specifier.startsWith(before) || !specifier.endsWith(after)) return [];
    const matched = specifier.slice(before.length, specifier.length - after.length);
    return stringsIn(value).map((target) => target.replaceAll("*", matched));
  });
  return { directory, targets };
}

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

/** "name@version" of the package that an import means, as Node finds it from this folder; or the name alone. */
async function versionOf(specifier: string, folder: string): Promise<string> {
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  for (let place = folder; ; place = path.dirname(place)) {
    const file = name === "lockstep" ? ownManifest : path.join(place, "node_modules", name, "package.json");
    const manifest = await manifestIn(file);
    if (manifest !== null) return `${name}@${String(manifest.version ?? "?")}`;
    if (place === path.dirname(place)) return name;
  }
}

/** "name@version" of the package that a file belongs to. */
async function versionAt(file: string): Promise<string> {
  const { manifest } = await nearestManifest(path.dirname(file));
  return `${String(manifest.name ?? "?")}@${String(manifest.version ?? "?")}`;
}

type PackageManifest = Readonly<Record<string, unknown>>;

async function nearestManifest(folder: string): Promise<{ directory: string; manifest: PackageManifest }> {
  for (let directory = folder; ; directory = path.dirname(directory)) {
    const manifest = await manifestIn(path.join(directory, "package.json"));
    if (manifest !== null || directory === path.dirname(directory)) return { directory, manifest: manifest ?? {} };
  }
}

/** Null where there is none, or none that can be read: the loader itself reports what is really wrong. */
async function manifestIn(file: string | URL): Promise<PackageManifest | null> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as PackageManifest; // whatever it holds is asked for by name
  } catch {
    return null;
  }
}

const ownManifest = path.join(packageRoot, "package.json");

/**
 * The specifiers of `import … from`, `export … from`, `import "…"`, `import("…")` and `require("…")`. A regular expression
 * may also find one in a comment; such a file only makes the digest more careful, and one that is not there is passed
 * over: the loader itself reports what is really missing.
 */
export function importsOf(source: string): string[] {
  const specifiers = source.matchAll(/\b(?:from|import|require)\s*\(?\s*(["'`])((?:\.{1,2}\/|[/@#\w])[^"'`\n$]*)\1/g);
  return Array.from(specifiers, (match) => match[2]!);
}
