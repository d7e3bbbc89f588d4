/** The project's own files as text, and as code without what only people read. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** Installed, built, made by runs, or not part of the checkout. */
const foreign = new Set(["node_modules", "dist", "runs", ".git"]);

/** Paths from the root, with "/", of all files below a folder whose names end so; sorted. */
export function filesBelow(folder: string, ending: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const file = path.posix.join(folder, entry.name);
    if (entry.isDirectory() && !foreign.has(entry.name)) found.push(...filesBelow(file, ending));
    else if (entry.isFile() && entry.name.endsWith(ending)) found.push(file);
  }
  return found.sort();
}

export function textOf(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

/** A comment, or a literal in quotes; a template's text counts as code, since there is code inside it. */
const commentOrLiteral = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;

/** TypeScript without its comments, so that a rule about code does not trip over prose. */
export function withoutComments(source: string): string {
  return source.replace(commentOrLiteral, (part) => (part.startsWith("/") ? part.replace(/[^\n]/g, " ") : part));
}

/** TypeScript without its comments and without what stands in quotes. */
export function codeOf(source: string): string {
  return source.replace(commentOrLiteral, (part) =>
    part.startsWith("`") ? part : part.startsWith("/") ? part.replace(/[^\n]/g, " ") : '""',
  );
}

export interface Import {
  readonly specifier: string;
  /** `import type … from`: gone before anything runs. */
  readonly typeOnly: boolean;
}

const importForms = [
  // A statement of its own begins its line: the formatter sees to it.
  /^(?:import|export)(?<type>\s+type\b)?(?:\s+[\w*\s{},$]+?\s+from|\s*\{[^}]*\}\s*from)?\s*["'](?<specifier>[^"'\n]+)["']/gm,
  /\bimport\s*\(\s*["'](?<specifier>[^"'\n]+)["']/g,
  // A thread's or a hook's module is started by its URL.
  /\bnew URL\(\s*["'](?<specifier>\.[^"'\n]+\.[cm]?[jt]s)["'],\s*import\.meta\.url/g,
  /\bregister\(\s*["'](?<specifier>[^"'\n]+)["'],\s*import\.meta\.url/g,
];

/** What a module names to be loaded, in whatever form. */
export function importsOf(source: string): Import[] {
  const code = withoutComments(source);
  return importForms.flatMap((form) =>
    Array.from(code.matchAll(form), ({ groups }) => ({
      specifier: groups!.specifier!,
      typeOnly: groups!.type !== undefined,
    })),
  );
}
