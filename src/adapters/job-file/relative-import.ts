import { realpathSync, statSync } from "node:fs";
import path from "node:path";

/**
 * The file that an import of `target`, an absolute path as written in TypeScript, means: the file itself, TypeScript
 * in the place of JavaScript, with an extension added, or a folder's index. Null if there is none, or in a package.
 */
export function fileOfImport(target: string): string | null {
  if (target.split(path.sep).includes("node_modules")) return null;
  const typescript = target.replace(/\.([cm]?)js$/, ".$1ts");
  const extended = [".ts", ".mts", ".js", ".mjs", ".json"].map((extension) => target + extension);
  const index = [path.join(target, "index.ts"), path.join(target, "index.js")];
  const found = [target, typescript, ...extended, ...index].find(isFile);
  return found === undefined ? null : realpathSync(found);
}

function isFile(candidate: string): boolean {
  return statSync(candidate, { throwIfNoEntry: false })?.isFile() ?? false;
}
