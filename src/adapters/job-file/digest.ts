import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileOfImport } from "./relative-import.ts";

/**
 * "sha256:…" over a module's bytes and those of the files that it imports by relative paths, and they in turn; in the
 * order of the imports, so that the names and places of folders play no part. Packages are not followed.
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
    for (const specifier of relativeImports(bytes.toString())) {
      const imported = fileOfImport(path.resolve(path.dirname(next), specifier));
      if (imported !== null) await add(imported);
    }
  }
}

/**
 * The specifiers of `import … from`, `export … from`, `import "…"` and `import("…")` that begin with a dot. A regular
 * expression may also find one in a comment; such a file only makes the digest more careful, and one that is not
 * there is passed over: the loader itself reports what is really missing.
 */
function relativeImports(source: string): string[] {
  const specifiers = source.matchAll(/\b(?:from|import)\s*\(?\s*(["'])(\.{1,2}\/[^"'\n]+)\1/g);
  return Array.from(specifiers, (match) => match[2]!);
}
