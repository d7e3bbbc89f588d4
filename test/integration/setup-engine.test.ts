import assert from "node:assert/strict";
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { cacheDirectory, findEntry } from "../../src/adapters/system/cache.ts";
import { librariesFor, libraryEntryName, type NativeLibrary } from "../../src/adapters/system/native-library.ts";
import { findProgram, runProgram } from "../../src/adapters/system/programs.ts";
import { findBinding, prepareBinding } from "../../src/adapters/tfjs/binding.ts";
import { type EngineChoice, type EngineWish, prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";
import type { EngineReport } from "../fixtures/engine-program.ts";
import { emptyMachine, type Machine, plainEnvironment, runFixture, serveFiles } from "../fixtures/machine.ts";
import type { PrepareReport } from "../fixtures/prepare-program.ts";

async function prepare(
  machine: Machine,
  wish: EngineWish,
  changes: Record<string, string> = {},
): Promise<PrepareReport<EngineChoice>> {
  const environment = { ...machine.environment, ...changes };
  const { stdout, stderr } = await runFixture("prepare-program.ts", [JSON.stringify(wish)], environment);
  assert.equal(stderr, "");
  // What the program prints.
  return JSON.parse(stdout) as PrepareReport<EngineChoice>;
}

const anything: EngineWish = { engine: "auto", device: "auto" };
const isX64Linux = process.platform === "linux" && process.arch === "x64";

/** A bare machine whose libtensorflow would come from a server that has none. */
async function bareMachine(context: TestContext) {
  const machine = await emptyMachine(context);
  const server = await serveFiles(context, {});
  machine.environment.TFJS_NODE_BASE_URI = `${server.address}/lib-`;
  return { machine, server };
}

/** The per-user cache's native engine; skips the test where there is none, which is a failure in CI. */
async function nativeEngine(context: TestContext): Promise<EngineChoice | null> {
  try {
    return await prepareEngine({ engine: "native", device: "cpu" }, () => {});
  } catch (error) {
    if (process.env.CI === "true") throw error;
    context.skip("this machine has no native engine");
    return null;
  }
}

test("without python3, g++ and apt any engine means WebAssembly, with one sentence that says why and what it costs", async (context) => {
  const { machine } = await bareMachine(context);
  const { result, lines } = await prepare(machine, anything);
  assert.equal(result?.kind, "wasm");
  assert.equal(result.device, "cpu");
  assert.match(result.library, /^TensorFlow\.js 4\.22\.0 \(WebAssembly\)$/);
  assert.match(
    result.notice ?? "",
    /^No native TensorFlow can be had here \(.*g\+\+ is not on PATH.*\), so this run computes in WebAssembly, about 15 times slower; `lockstep doctor` says what to do\.$/,
  );
  assert.ok(lines.length <= 1, lines.join("\n"));
  const left = await readdir(join(machine.cacheHome, "lockstep"), { recursive: true }).catch(() => []);
  assert.deepEqual(
    left.filter((name) => name !== "staging"),
    [],
  );
});

test("there, the native engine is an error that names each thing that was tried and why it failed", async (context) => {
  const { machine, server } = await bareMachine(context);
  const { error } = await prepare(machine, { engine: "native", device: "auto" });
  assert.equal(error?.code, "engine-unavailable");
  assert.match(error.message, /TensorFlow 2\.21\.0 \(CPU\): g\+\+ is not on PATH/);
  if (isX64Linux) {
    const file = "/lib-cpu-linux-x86_64-2.9.1.tar.gz";
    assert.match(
      error.message,
      new RegExp(
        `TensorFlow 2\\.9\\.1 \\(CPU\\): ${server.address}${file} cannot be downloaded: the server answered 404`,
      ),
    );
    assert.deepEqual(server.requests, [file]);
  }
  assert.match(error.hint, /python3 with pip, and g\+\+/);
});

test("the last words of a pip that fails are in the error, and what takes long says so", async (context) => {
  const { machine } = await bareMachine(context);
  await machine.addScript("g++", "exit 0");
  assert.ok(await machine.addPrograms("sleep"));
  await machine.addScript(
    "python3",
    "sleep 2.5; echo 'WARNING: x' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
  );
  const { error, lines } = await prepare(machine, { engine: "native", device: "cpu" });
  assert.match(
    error?.message ?? "",
    /pip cannot download tensorflow(-cpu)?==2\.21\.0: ERROR: No matching distribution found — exit code 1/,
  );
  assert.match(lines[0] ?? "", /^Fetching TensorFlow 2\.21\.0 \(CPU\)/);
  assert.match(lines[1] ?? "", /^downloading: 0\.0 of \d+\.\d MB$/);
  assert.deepEqual(await readdir(join(machine.cacheHome, "lockstep", "staging")), []);
});

test("a cache that cannot be written to is named", async (context) => {
  const { machine } = await bareMachine(context);
  await machine.addScript("g++", "exit 0");
  const { error } = await prepare(machine, { engine: "native", device: "cpu" }, { XDG_CACHE_HOME: "/dev/null" });
  assert.match(error?.message ?? "", /the cache folder \/dev\/null\/lockstep cannot be written to/);
});

test("engines without native code are had at once, and compute on the CPU only", async (context) => {
  const { machine } = await bareMachine(context);
  for (const engine of ["wasm", "cpu"] as const) {
    const { result, lines } = await prepare(machine, { engine, device: "auto" });
    assert.deepEqual([result?.kind, result?.device, result?.notice, lines], [engine, "cpu", null, []]);
    const { error } = await prepare(machine, { engine, device: "gpu" });
    assert.equal(error?.code, "engine-unavailable");
  }
});

test("a GPU that is asked for and absent is an error, before anything is fetched", async (context) => {
  const { machine, server } = await bareMachine(context);
  const { error, lines } = await prepare(machine, { engine: "auto", device: "gpu" });
  assert.equal(error?.code, "engine-unavailable");
  assert.match(error.message, /nvidia-smi is not on PATH/);
  await machine.addScript("nvidia-smi", "exit 9");
  const { error: unanswered } = await prepare(machine, { engine: "native", device: "gpu" });
  assert.match(unanswered?.message ?? "", /nvidia-smi tells of none/);
  assert.deepEqual([lines, server.requests], [[], []]);
});

test("an engine that is set up is chosen silently, without any other program", async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null) return;
  const { machine } = await bareMachine(context);
  const { result, lines } = await prepare(machine, anything, { XDG_CACHE_HOME: dirname(cacheDirectory()) });
  assert.deepEqual(result, choice);
  assert.deepEqual(lines, []);
});

test("a GPU whose build cannot be had: auto trains on the CPU and says why, gpu is an error", async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null) return;
  const { machine } = await bareMachine(context);
  // The CPU build is there, a CUDA build is not.
  await shareEngine(choice, machine);
  await machine.addScript("nvidia-smi", "echo '0, GPU-aa11, NVIDIA H100, 81559, 550.54.15'");
  const { result } = await prepare(machine, anything);
  assert.deepEqual([result?.kind, result?.device, result?.gpus], ["native", "cpu", []]);
  assert.match(result?.notice ?? "", /^This machine's GPU cannot be used \(.*\), so this run computes on the CPU\.$/);
  const { error } = await prepare(machine, { engine: "auto", device: "gpu" });
  assert.equal(error?.code, "engine-unavailable");
  assert.match(error.message, /^A GPU was asked for and cannot be used\. Tried: .*\(CUDA\): /);
});

test("an engine that is only half there is not taken for one", async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null) return;
  const { machine } = await bareMachine(context);
  const { binding } = await shareEngine(choice, machine);
  const wish: EngineWish = { engine: "native", device: "cpu" };
  assert.equal((await prepare(machine, wish)).result?.kind, "native");
  await rm(join(binding, basename(choice.bindingPath ?? "")));
  assert.equal((await prepare(machine, wish)).error?.code, "engine-unavailable");
});

test("libtensorflow comes from where TFJS_NODE_BASE_URI says, and the binding is compiled against it", {
  skip: !isX64Linux,
}, async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null) return;
  const { machine } = await bareMachine(context);
  assert.ok(await machine.addPrograms("g++", "as", "ld", "tar", "gzip"));
  const archive = await standInLibtensorflow(machine, choice);
  const { address } = await serveFiles(context, { "/lib-cpu-linux-x86_64-2.9.1.tar.gz": archive });
  const { result, error, lines } = await prepare(
    machine,
    { engine: "native", device: "cpu" },
    { TFJS_NODE_BASE_URI: `${address}/lib-` },
  );
  assert.equal(error, null);
  assert.equal(result?.library, "TensorFlow 2.9.1");
  assert.ok(result.bindingPath?.startsWith(join(machine.cacheHome, "lockstep", "engine")));
  assert.ok(lines.includes("Fetching libtensorflow 2.9.1 (CPU), once per user."));
});

test("without a compiler libtensorflow comes with the binding that its authors built", {
  skip: !isX64Linux,
}, async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null) return;
  const { machine } = await bareMachine(context);
  assert.ok(await machine.addPrograms("tar", "gzip"));
  const library = await standInLibtensorflow(machine, choice);
  const addon = join(machine.directory, "addon", "napi-v8");
  await mkdir(addon, { recursive: true });
  await writeFile(join(addon, "tfjs_binding.node"), await readFile(choice.bindingPath ?? ""));
  const { address } = await serveFiles(context, {
    "/lib-cpu-linux-x86_64-2.9.1.tar.gz": library,
    "/addons/napi-v8/4.22.0/CPU-linux-4.22.0.tar.gz": await pack(join(machine.directory, "addon"), "napi-v8"),
  });
  const { result, error } = await prepare(
    machine,
    { engine: "native", device: "cpu" },
    {
      TFJS_NODE_BASE_URI: `${address}/lib-`,
      npm_config_tfjs_binding_binary_host_mirror: `${address}/addons`,
      // The stand-in addon looks for its library elsewhere than the authors' would.
      LD_LIBRARY_PATH: await wheelFolder(),
    },
  );
  assert.equal(error, null);
  const path = result?.bindingPath ?? "";
  assert.match(path, /\/lib\/napi-v8\/tfjs_binding\.node$/);
  const libraries = await readdir(join(dirname(path), "..", "..", "deps", "lib"));
  assert.ok(libraries.includes("libtensorflow.so"), libraries.join());
});

const cudaWheel = librariesFor("cuda").find(({ source }) => source === "wheel");
const testsCuda = process.env.CI === "true" || (cudaWheel !== undefined && (await findBinding(cudaWheel)) !== null);

test("the CUDA build trains on the CPU, to the same bits as the CPU build", {
  skip: cudaWheel === undefined ? "there is none for this machine" : testsCuda ? false : "570 MB: only with CI=true",
}, async (context) => {
  const choice = await nativeEngine(context);
  if (choice === null || cudaWheel === undefined) return;
  const { path } = await prepareBinding(cudaWheel, () => {});
  const digests = [];
  for (const bindingPath of [choice.bindingPath, path]) {
    const programArguments = [JSON.stringify({ ...choice, bindingPath }), "1", "0", "16"];
    const { stdout } = await runFixture("engine-program.ts", programArguments, plainEnvironment());
    // What the program prints.
    digests.push((JSON.parse(stdout) as EngineReport).digests);
  }
  assert.deepEqual(digests[1], digests[0]);
});

/** The library that the per-user cache's engine was built against. */
async function cachedWheel(): Promise<{ library: NativeLibrary; directory: string }> {
  for (const library of librariesFor("cpu")) {
    const entry = library.source === "wheel" ? await findEntry(libraryEntryName(library)) : null;
    if (entry !== null) return { library, directory: entry.directory };
  }
  throw new Error("the cache holds no library from a wheel");
}

async function wheelFolder(): Promise<string> {
  const { library, directory } = await cachedWheel();
  return join(directory, library.libraryFolder);
}

/** Puts the engine into the machine's cache: its library by a link, its binding by a copy. */
async function shareEngine(choice: EngineChoice, machine: Machine): Promise<{ binding: string }> {
  const engine = join(machine.cacheHome, "lockstep", "engine");
  const source = dirname(choice.bindingPath ?? "");
  const binding = join(engine, basename(source));
  await mkdir(binding, { recursive: true });
  for (const name of await readdir(source)) await writeFile(join(binding, name), await readFile(join(source, name)));
  const { directory } = await cachedWheel();
  await symlink(directory, join(engine, basename(directory)));
  return { binding };
}

/** An archive laid out as libtensorflow's, whose libraries are empty but for needing the real ones in the cache. */
async function standInLibtensorflow(machine: Machine, choice: EngineChoice): Promise<Buffer> {
  assert.ok(choice.bindingPath);
  const { library, directory } = await cachedWheel();
  const root = join(machine.directory, "libtensorflow");
  await mkdir(join(root, "lib"), { recursive: true });
  await symlink(join(directory, library.includeFolder), join(root, "include"));
  const empty = join(machine.directory, "empty.cc");
  await writeFile(empty, "");
  const compiler = findProgram("g++") ?? "";
  const compile = async (...flags: string[]) => {
    const result = await runProgram(compiler, ["-shared", empty, "-Wl,--no-as-needed", ...flags]);
    assert.equal(result.failure, "");
  };
  const needed = library.libraryNames.map((name) => join(machine.directory, name));
  for (const path of needed) await compile(`-Wl,-soname,${basename(path)}`, "-o", path);
  const rpath = `-Wl,-rpath,${join(directory, library.libraryFolder)}`;
  for (const name of ["libtensorflow", "libtensorflow_framework"]) {
    // Not the soname of the real one, which the real libtensorflow_framework in the cache has too.
    await compile(...needed, rpath, `-Wl,-soname,${name}.so.2.9.1`, "-o", join(root, "lib", `${name}.so.2.9.1`));
    await symlink(`${name}.so.2.9.1`, join(root, "lib", `${name}.so.2`));
    await symlink(`${name}.so.2`, join(root, "lib", `${name}.so`));
  }
  assert.equal(await readlink(join(root, "lib", "libtensorflow.so")), "libtensorflow.so.2");
  return pack(root, ".");
}

async function pack(directory: string, what: string): Promise<Buffer> {
  const archive = join(directory, "..", `${basename(directory)}.tar.gz`);
  const result = await runProgram(findProgram("tar") ?? "", ["-czf", archive, "-C", directory, what]);
  assert.equal(result.failure, "");
  return readFile(archive);
}
