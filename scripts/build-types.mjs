// Writes types/: the declarations of what src/index.ts exports, for whoever type-checks a job file or a program against the package.
// The sources themselves are no use to them: they name each other with ".ts", which other projects' compilers refuse.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { root, run } from "./install.mjs";

const types = join(root, "types");
const folder = mkdtempSync(join(tmpdir(), "lockstep-types-"));
try {
  const compiler = join(root, "node_modules", ".bin", "tsc");
  process.exitCode = await run(compiler, ["-p", join(root, "tsconfig.types.json"), "--outDir", folder]);
  if (process.exitCode === 0) {
    const wanted = reached("index");
    rmSync(types, { recursive: true, force: true });
    for (const [name, text] of wanted) {
      mkdirSync(dirname(join(types, name)), { recursive: true });
      writeFileSync(join(types, `${name}.d.ts`), text);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** What a module's declarations name, and what those name, with its text; most of the program is not among it. */
function reached(first) {
  const found = new Map();
  const queue = [first];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (found.has(name)) continue;
    const text = readFileSync(join(folder, `${name}.d.ts`), "utf8");
    const named = /(?<=["'])(\.{1,2}\/[\w./-]+)\.ts(?=["'])/g;
    for (const [, path] of text.matchAll(named)) queue.push(normalize(join(dirname(name), path)));
    found.set(name, text.replace(named, "$1.js"));
  }
  return found;
}
