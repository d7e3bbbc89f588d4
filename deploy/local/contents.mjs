// What is sent to a host, for deploy/scripts/lib/target-ssh.sh: writes the paths, each ended by a zero byte, to LIST, and
// prints the name that this content has (equal content, equal name), the folder that the paths begin at, and for a job
// where its file is among them.
//
//   node deploy/local/contents.mjs releases LIST
//   node deploy/local/contents.mjs job LIST JOB.ts
//   node deploy/local/contents.mjs data LIST DIR
//   node deploy/local/contents.mjs cache LIST cpu|gpu      the entries of this machine's cache; prints them, one a line
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { builtModule } from "../../bin/build.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const [what, list, argument] = process.argv.slice(2);

function fail(code, message) {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}

/** Paths of all files below a folder, in one order everywhere; what is hidden, or belongs to a program, is left out. */
function filesBelow(folder, path = "") {
  return readdirSync(join(folder, path))
    .sort()
    .flatMap((name) => {
      if (name.startsWith(".") || name === "node_modules" || name === "runs") return [];
      const below = join(path, name);
      const found = statSync(join(folder, below));
      if (found.isDirectory()) return filesBelow(folder, below);
      return found.isFile() ? [below] : [];
    });
}

async function nameOf(base, paths) {
  const hash = createHash("sha256");
  for (const path of paths) {
    hash.update(`${path}\n${statSync(join(base, path)).size}\n`);
    for await (const bytes of createReadStream(join(base, path))) hash.update(bytes);
  }
  return hash.digest("hex").slice(0, 16);
}

/** lockstep itself as it is here: its sources, what they compile to, the dashboard's page, and the packages that it needs to run. */
async function release() {
  const folders = ["bin", "proto", "src", "dashboard/dist"].filter((folder) => existsSync(join(root, folder)));
  const sources = folders.flatMap((folder) => filesBelow(join(root, folder)).map((file) => join(folder, file)));
  const own = [...sources, "LICENSE", "package.json", "package-lock.json", "tsconfig.json"];
  const built = fileURLToPath(await builtModule("cli/main"));
  const dist = built.startsWith(join(root, "dist")) ? [relative(root, dirname(dirname(built)))] : [];
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  // A package inside of another one comes along with it; optional ones may be for other platforms, and not here.
  const needed = Object.entries(packages).filter(
    ([path, { dev }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && !dev && existsSync(join(root, path)),
  );
  return { name: await nameOf(root, own), base: root, paths: [...own, ...dist, ...needed.map(([path]) => path)] };
}

/** The job file and what it imports, by relative paths. */
async function job() {
  const file = realpathSync(argument);
  const { build } = await import("esbuild");
  const options = { bundle: true, write: false, metafile: true, packages: "external", format: "esm", platform: "node" };
  const built = await build({
    ...options,
    entryPoints: [file],
    absWorkingDir: dirname(file),
    logLevel: "silent",
  }).catch(({ message }) => fail(3, `The job file ${argument} cannot be read: ${message}`));
  const { inputs } = built.metafile;
  const packages = Object.values(inputs)
    .flatMap(({ imports }) => imports)
    .filter(({ path, external }) => external && path !== "lockstep" && !isBuiltin(path));
  if (packages.length > 0) {
    fail(
      3,
      `The job file ${argument} imports ${packages[0].path}, which is not sent to the hosts: only "lockstep" and files beside it can be imported.`,
    );
  }
  const files = Object.keys(inputs).map((path) => join(dirname(file), path));
  let base = dirname(file);
  while (files.some((path) => relative(base, path).startsWith(".."))) base = dirname(base);
  const paths = files.map((path) => relative(base, path)).sort();
  return { name: await nameOf(base, paths), base, paths, entry: relative(base, file) };
}

async function data() {
  const paths = filesBelow(argument);
  if (paths.length === 0) fail(4, `The folder ${argument} has no data in it.`);
  return { name: await nameOf(argument, paths), base: argument, paths };
}

/** The engine's and etcd's entries; of the engine's those for the CPU, or those for GPUs. */
async function cache() {
  const { cacheDirectory, findEntry } = await import(await builtModule("adapters/system/cache"));
  const base = cacheDirectory();
  const isWanted = (name) => name.startsWith("etcd/") || name.includes("-cpu-") === (argument === "cpu");
  const names = ["engine", "etcd"]
    .flatMap((kind) =>
      existsSync(join(base, kind)) ? readdirSync(join(base, kind)).map((name) => `${kind}/${name}`) : [],
    )
    .filter((name) => isWanted(name) && !name.startsWith("engine/gpu-"));
  const whole = await Promise.all(names.map(async (name) => ((await findEntry(name)) ? [name] : [])));
  return { name: base, base, paths: whole.flat() };
}

const kinds = { releases: release, job, data, cache };
const { name, base, paths, entry } = await kinds[what]();
writeFileSync(list, paths.map((path) => `${path}\0`).join(""));
const lines = what === "cache" ? [base, ...paths] : [name, base, ...(entry ? [entry] : [])];
process.stdout.write(`${lines.join("\n")}\n`);
