import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import path from "node:path";
import { fileOfImport } from "./relative-import.ts";

/**
 * "sha256:…" over a module's bytes and those of the files that it imports by relative paths, and they in turn; in the
 * order of the imports, so that the names and places of folders play no part. Of a package its name and version count;
 * it is not followed, and neither are Node's own modules.
 */
export async function digestOfModule(file: string): Promise<string> {
  const hash = createHash("sha256");
  const seen = new Set<string>();
  await add(file);
  return `sha256:${hash.digest("hex")}`;

  async function add(next: string): Promise<void> {
    if (seen.has(next)) return;
    seen.add(next);
    const bytes = await readFile(next);
    hash.update(`${bytes.length}\n`).update(bytes);
    for (const specifier of importsOf(bytes.toString())) {
      if (specifier.startsWith(".")) {
        const imported = fileOfImport(path.resolve(path.dirname(next), specifier));
        if (imported !== null) await add(imported);
      } else if (!isBuiltin(specifier)) hash.update(`${await versionOf(specifier, path.dirname(next))}\n`);
    }
  }
}

/** "name@version" of the package that an import means, as Node finds it from this folder; or the name alone. */
async function versionOf(specifier: string, folder: string): Promise<string> {
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  for (let place = folder; ; place = path.dirname(place)) {
    const manifest = name === "lockstep" ? ownManifest : path.join(place, "node_modules", name, "package.json");
    const text = await readFile(manifest, "utf8").catch(() => null);
    if (text !== null) return `${name}@${(JSON.parse(text) as { version?: string }).version ?? "?"}`;
    if (place === path.dirname(place)) return name;
  }
}

const ownManifest = new URL("../../../package.json", import.meta.url);

/**
 * The specifiers of `import … from`, `export … from`, `import "…"` and `import("…")`. A regular expression may also
 * find one in a comment; such a file only makes the digest more careful, and one that is not there is passed over: the
 * loader itself reports what is really missing.
 */
function importsOf(source: string): string[] {
  const specifiers = source.matchAll(/\b(?:from|import)\s*\(?\s*(["'])((?:\.{1,2}\/|[@\w])[^"'\n]*)\1/g);
  return Array.from(specifiers, (match) => match[2]!);
}
