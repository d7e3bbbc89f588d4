import { readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { packageRoot } from "./package-root.ts";

/**
 * A stack whose places in dist/ are those in src/ that they were built from. Only an error pays for it: Node's own way
 * reads the map of every module, TensorFlow.js' included, while it is loaded.
 */
export function withSourcePlaces(stack: string): string {
  return stack.replace(/(file:\/\/[^\s()]+\/dist\/[^\s()]+\.js):(\d+):(\d+)/g, (place, url, line, column) => {
    try {
      const file = fileURLToPath(url);
      const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, "utf8")));
      // The types of Node.js 20 do not tell that nothing may be found.
      const entry: { originalSource?: string; originalLine?: number } = map.findEntry(line - 1, column - 1);
      if (entry.originalSource === undefined || entry.originalLine === undefined) return place;
      const source = join(dirname(file), entry.originalSource);
      return `${relative(packageRoot, source)}:${entry.originalLine + 1}`;
    } catch {
      return place; // another package's dist/, for instance
    }
  });
}
