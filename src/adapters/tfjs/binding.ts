/**
 * The native addon between Node and TensorFlow: the C++ sources of @tensorflow/tfjs-node-gpu, unmodified, compiled
 * against a library in the cache. The result lies in the cache too, finds the library by a path relative to itself, and
 * is put in place only after another process has loaded it: a library that this processor or this libc cannot run ends
 * that process, not ours.
 */
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { extractTar } from "../system/archives.ts";
import { buildEntry, cacheDirectory, entryDirectory, findEntry } from "../system/cache.ts";
import { download } from "../system/download.ts";
import { packageRoot } from "../system/package-root.ts";
import { libraryEntryName, type NativeLibrary, prepareLibrary, sharedObjectFolder } from "../system/native-library.ts";
import { findProgram, type ProgramResult, runProgram } from "../system/programs.ts";
import { type Say, withProgress } from "../system/progress.ts";
import { quietLoaderName } from "./native-addon.ts";

export interface Binding {
  readonly path: string;
  readonly library: NativeLibrary;
}

const require = createRequire(import.meta.url);
/** Raise it when what is compiled changes, or how, so that older builds are not taken for it. */
const recipe = 3;
/** Loading takes under a second, or a few from a cold disk. */
const loadTimeoutMs = 120_000;

const packageManifest: {
  version: string;
  binary: { host: string };
} = require("@tensorflow/tfjs-node-gpu/package.json");
const packageDirectory = dirname(require.resolve("@tensorflow/tfjs-node-gpu/package.json"));

/** The binding to a library, if both are in the cache and whole. */
export async function findBinding(library: NativeLibrary): Promise<Binding | null> {
  const [entry, libraryEntry] = await Promise.all([
    findEntry(bindingEntry(library)),
    findEntry(libraryEntryName(library)),
  ]);
  const path = entry?.facts.path;
  return entry === null || libraryEntry === null || path === undefined
    ? null
    : { path: join(entry.directory, path), library };
}

/** The binding to a library, with the library, made if need be. Throws an Error that says in one line why not. */
export async function prepareBinding(library: NativeLibrary, say: Say): Promise<Binding> {
  const compiler = findCompiler();
  // Before the download: without a compiler the wheel's library is of no use.
  if (compiler === null && library.source === "wheel") throw new Error("g++ is not on PATH");
  await prepareLibrary(library, say);
  const entry = await buildEntry(bindingEntry(library), async (directory, scratch) => {
    const path =
      compiler === null
        ? await fetchAddon(library, directory, scratch, say)
        : await compileAddon(compiler, library, directory, scratch, say);
    await withProgress(say, () => "loading TensorFlow for the first time", loadInAnotherProcess(join(directory, path)));
    return { path };
  });
  return { path: join(entry.directory, entry.facts.path ?? ""), library };
}

/** What a binding says when another process loads it with the given environment. */
export async function loadInAnotherProcess(
  path: string,
  environment: Readonly<Record<string, string>> = { CUDA_VISIBLE_DEVICES: "" },
): Promise<{ version: string; usesGpu: boolean }> {
  const script = `try {
    const binding = require(${JSON.stringify(path)});
    process.stdout.write(JSON.stringify({ version: binding.TF_Version, usesGpu: binding.isUsingGpuDevice() }));
  } catch (error) {
    process.stderr.write(error.message.split("\\n")[0]);
    process.exitCode = 1;
  }`;
  const result = await runProgram(process.execPath, ["--input-type=commonjs", "-e", script], {
    timeoutMs: loadTimeoutMs,
    // Every symbol is looked up at once, so that one that is missing shows now and not in the middle of training.
    environment: { TF_CPP_MIN_LOG_LEVEL: "0", LD_BIND_NOW: "1", ...environment },
  });
  if (!result.succeeded) throw new Error(`the built library does not load: ${result.failure}`);
  // What the script above wrote.
  return JSON.parse(result.output) as { version: string; usesGpu: boolean };
}

function bindingEntry(library: NativeLibrary): string {
  return `engine/binding-${packageManifest.version}-${recipe}-${library.name}`;
}

function findCompiler(): string | null {
  return findProgram("g++") ?? findProgram("clang++") ?? findProgram("c++");
}

async function compileAddon(
  compiler: string,
  library: NativeLibrary,
  directory: string,
  scratch: string,
  say: Say,
): Promise<string> {
  const nodeHeaders: { include_dir: string } = require("node-api-headers");
  const include = join(entryDirectory(libraryEntryName(library)), library.includeFolder);
  const flags = ["-std=c++17", "-O2", "-fPIC", "-DNAPI_VERSION=8", "-I", include, "-I", nodeHeaders.include_dir];
  const compile = async (source: string, folder = join(packageDirectory, "binding")) => {
    const object = join(scratch, `${source}.o`);
    const file = join(folder, `${source}.cc`);
    requireSuccess(await runProgram(compiler, [...flags, "-c", file, "-o", object]), `${source}.cc does not compile`);
    return object;
  };
  const build = async () => {
    const [loader, ...objects] = await Promise.all([
      compile("load-quietly", join(packageRoot, "src/adapters/tfjs")),
      compile("tfjs_backend"),
      compile("tfjs_binding"),
    ]);
    const output = join(directory, "tfjs_binding.node");
    const link = [...(await linkFlags(compiler, library, scratch)), ...objects, "-o", output];
    requireSuccess(await runProgram(compiler, link), "the binding does not link");
    const shared = process.platform === "darwin" ? ["-shared", "-undefined", "dynamic_lookup"] : ["-shared"];
    const linkLoader = [...shared, loader, "-o", join(directory, quietLoaderName)];
    requireSuccess(await runProgram(compiler, linkLoader), "the loader does not link");
  };
  await withProgress(say, (seconds) => `compiling the binding to ${library.title}: ${seconds} s`, build());
  return "tfjs_binding.node";
}

/**
 * On Linux the binding is linked to empty libraries of the same names: an addon may leave symbols to be found when it is
 * loaded, and reading the real library's 800 MB takes the linker longer than all else together.
 */
async function linkFlags(compiler: string, library: NativeLibrary, scratch: string): Promise<string[]> {
  const folder = sharedObjectFolder(library);
  // The same from where the binding is built and from where it will lie, and wherever the cache is moved to.
  const fromCache = relative(cacheDirectory(), folder);
  if (process.platform === "darwin") {
    const libraries = library.libraryNames.map((name) => join(folder, name));
    return ["-shared", "-undefined", "dynamic_lookup", `-Wl,-rpath,@loader_path/../../${fromCache}`, ...libraries];
  }
  const empty = join(scratch, "empty.cc");
  await writeFile(empty, "");
  const stubs = library.libraryNames.map((name) => join(scratch, name));
  for (const [position, name] of library.libraryNames.entries()) {
    const build = ["-shared", "-nostdlib", `-Wl,-soname,${name}`, empty, "-o", stubs[position] ?? ""];
    requireSuccess(await runProgram(compiler, build), `no library can be linked`);
  }
  return ["-shared", `-Wl,-rpath,$ORIGIN/../../${fromCache}`, "-Wl,--no-as-needed", ...stubs];
}

/** The addon that the package's authors built for libtensorflow; it looks for the library in `../../deps/lib`. */
async function fetchAddon(library: NativeLibrary, directory: string, scratch: string, say: Say): Promise<string> {
  const host = process.env.npm_config_tfjs_binding_binary_host_mirror || packageManifest.binary.host;
  const type = library.variant === "cuda" ? "GPU" : "CPU";
  const name = `${type}-${process.platform}-${packageManifest.version}.tar.gz`;
  const archive = join(scratch, name);
  const url = `${host}/napi-v8/${packageManifest.version}/${name}`;
  await download(url, { destination: archive, sha256: null, label: "downloading the binding", say });
  await extractTar(archive, join(directory, "lib"));
  await mkdir(join(directory, "deps"));
  const fromDeps = join("..", "..", "..", relative(cacheDirectory(), sharedObjectFolder(library)));
  await symlink(fromDeps, join(directory, "deps", "lib"));
  return "lib/napi-v8/tfjs_binding.node";
}

function requireSuccess(result: ProgramResult, what: string): void {
  if (!result.succeeded) throw new Error(`${what}: ${result.failure}`);
}
