// lockstep's own TypeScript as JavaScript, which a process loads in half the time. Nobody has to build: whoever starts
// lockstep asks here where its modules are, and what is not there yet is made. dist/HASH is what the sources of that hash
// compile to, and never changes; so an edited source is never run stale, and many may start and build at once.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const keptMs = 7 * 24 * 3600 * 1000;
const root = fileURLToPath(new URL("..", import.meta.url));

/** The URL of a module of src/, named as "cli/main", that is ready to be imported. */
export async function builtModule(name) {
  const sources = sourcesIn("").sort();
  const folder = join(root, "dist", hashOf(sources));
  if (existsSync(folder) || (await build(sources, folder))) return pathToFileURL(join(folder, `${name}.js`)).href;
  const { register } = await import("tsx/esm/api");
  register();
  return pathToFileURL(join(root, "src", `${name}.ts`)).href;
}

/** Node's own recursive listing takes eight times as long, in every process that starts. */
function sourcesIn(folder) {
  return readdirSync(join(root, "src", folder), { withFileTypes: true }).flatMap((entry) => {
    const name = join(folder, entry.name);
    if (entry.isDirectory()) return sourcesIn(name);
    return name.endsWith(".ts") ? [name] : [];
  });
}

/** Of all that decides what comes out: the sources, this file, and the compiler, whose version package.json fixes. */
function hashOf(sources) {
  const hash = createHash("sha256");
  for (const file of ["package.json", "tsconfig.json", "bin/build.mjs", ...sources.map((name) => join("src", name))]) {
    hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  }
  return hash.digest("hex").slice(0, 16);
}

/** False where nothing can be written, as in an image that is read-only: the sources run there as they are, more slowly. */
async function build(sources, folder) {
  const { build: compile } = await import("esbuild");
  const { outputFiles } = await compile({
    ...{ absWorkingDir: root, entryPoints: sources.map((file) => join("src", file)), outbase: "src", outdir: folder },
    ...{ format: "esm", platform: "node", target: "node20.11", sourcemap: "external", sourcesContent: false },
    write: false,
  });
  const unfinished = `${folder}.${process.pid}`;
  try {
    for (const { path, text } of outputFiles) {
      const file = path.replace(folder, unfinished);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, file.endsWith(".js") ? withBuiltNames(text) : text);
    }
    renameSync(unfinished, folder);
  } catch {
    rmSync(unfinished, { recursive: true, force: true });
    return existsSync(folder); // somebody else was faster
  }
  removeOld(join(root, "dist"));
  return true;
}

/** What is young may be what a process runs that was started before the sources were edited, and loads from later. */
function removeOld(dist) {
  for (const name of readdirSync(dist)) {
    const ageMs = Date.now() - (statSync(join(dist, name), { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (ageMs > keptMs) rmSync(join(dist, name), { recursive: true, force: true });
  }
}

/** Modules name each other as they lie in src/, with ".ts". */
function withBuiltNames(code) {
  return code.replace(/(["'])(\.{1,2}\/[\w./-]+)\.ts\1/g, "$1$2.js$1");
}
