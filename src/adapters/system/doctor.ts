/** What `lockstep doctor` finds out about this machine. Looks and tries, but fetches, builds and changes nothing. */
import { access, constants, stat } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { dirname } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { loadInAnotherProcess } from "../tfjs/binding.ts";
import { type EngineChoice, findEngine } from "../tfjs/prepare-engine.ts";
import { cacheDirectory, folderSizeBytes } from "./cache.ts";
import { findEtcd } from "./etcd-program.ts";
import { type Gpu, listGpus } from "./gpus.ts";
import { findProgram, runProgram } from "./programs.ts";

export interface Finding {
  readonly what: string;
  /** False: training cannot work like this. "warning": it works, but slowly or only after something was fetched. */
  readonly ok: boolean | "warning";
  readonly value: string;
  /** What to do about it, as a sentence; null when there is nothing to do. */
  readonly advice: string | null;
}

/** Everything that training on this machine depends on, most important first. Never throws. */
export async function diagnose(): Promise<Finding[]> {
  const [gpus, tools, cache] = await Promise.all([listGpus(), checkTools(), checkCache()]);
  const engine = await checkEngine(gpus, tools);
  const node = [checkNode(), engine.finding, checkDevices(gpus), checkProcessor(), checkThreads()];
  return [...node, await checkEtcd(), toolsFinding(tools, engine.isNative), cache];
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const value = `${process.version} (${process.platform}-${process.arch})`;
  if (major < 20 || (major === 20 && minor < 11)) {
    return { what: "Node", ok: false, value, advice: "Install Node 22 or 24; 20.11 is the oldest that works." };
  }
  const advice = major === 20 ? "Node 20 gets no more security fixes: move to 22 or 24." : null;
  return { what: "Node", ok: advice === null ? true : "warning", value, advice };
}

// ---- engine ----

async function checkEngine(gpus: readonly Gpu[], tools: Tools): Promise<{ finding: Finding; isNative: boolean }> {
  const choice = await findEngine({ engine: "auto", device: "auto" });
  if (choice !== null) return { finding: await checkNative(choice), isNative: true };
  const onCpu = gpus.length === 0 ? null : await findEngine({ engine: "auto", device: "cpu" });
  if (onCpu !== null) {
    const value = `${onCpu.library} for the CPU; the one for this machine's GPU is not set up yet`;
    const advice = "Run `lockstep setup`, or let the first run fetch it (some 4 GB); --device cpu needs nothing more.";
    return { finding: { what: "engine", ok: "warning", value, advice }, isNative: true };
  }
  const missing = Object.entries(tools).filter(([, version]) => version === null);
  const value = "native TensorFlow is not set up yet";
  const advice =
    missing.length === 0
      ? "Run `lockstep setup`, or let the first run do it."
      : `Install ${missing.map(([name]) => name).join(" and ")}, then run \`lockstep setup\`; until then the engine is slow.`;
  return { finding: { what: "engine", ok: "warning", value, advice }, isNative: false };
}

/** A library that is whole may still not run here: another processor, another libc, a driver that has changed. */
async function checkNative(choice: EngineChoice): Promise<Finding> {
  const what = "engine";
  try {
    const visible = choice.gpus.map(({ index }) => index).join(",");
    const environment = { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: visible };
    const { version, usesGpu } = await loadInAnotherProcess(choice.bindingPath ?? "", environment);
    const value = `native, TensorFlow ${version}, on the ${usesGpu ? "GPU" : "CPU"}`;
    if (choice.device === "cpu" || usesGpu) return { what, ok: true, value, advice: null };
    const advice = "TensorFlow does not find the GPU: check its driver, or train with --device cpu.";
    return { what, ok: false, value, advice };
  } catch (error) {
    const advice = `Delete ${dirname(choice.bindingPath ?? "")} and run \`lockstep setup\`.`;
    return { what, ok: false, value: `${choice.library}: ${messageOf(error)}`, advice };
  }
}

// ---- devices ----

function checkDevices(gpus: readonly Gpu[]): Finding {
  const what = "devices";
  if (gpus.length === 0) {
    const unanswered = findProgram("nvidia-smi") !== null;
    const advice = unanswered
      ? "nvidia-smi is there but lists no GPU for this process: check the driver and CUDA_VISIBLE_DEVICES."
      : null;
    return { what, ok: unanswered ? "warning" : true, value: "CPU, no GPU", advice };
  }
  const gigabytes = (bytes: number) => Math.round(bytes / 2 ** 30);
  const each = gpus.map(({ index, model, memoryBytes }) => `GPU ${index}: ${model}, ${gigabytes(memoryBytes)} GiB`);
  return { what, ok: true, value: `${each.join("; ")}; driver ${gpus[0]?.driverVersion}`, advice: null };
}

function checkProcessor(): Finding {
  const model = cpus()[0]?.model.trim() || process.arch;
  return { what: "processor", ok: true, value: model, advice: null };
}

function checkThreads(): Finding {
  const cores = availableParallelism();
  const value = `${cores} cores; a worker's threads are cores ÷ shards unless --threads says otherwise, at least 1`;
  return { what: "threads", ok: true, value, advice: null };
}

// ---- programs ----

/** Versions of what set-up of the native engine needs; null where it is missing. */
type Tools = Readonly<Record<"python3" | "pip" | "g++", string | null>>;

async function checkTools(): Promise<Tools> {
  const python = findProgram("python3");
  const compiler = findProgram("g++");
  const [pythonVersion, pipVersion, compilerVersion] = await Promise.all([
    python === null ? null : firstLine(python, ["--version"]),
    python === null ? null : firstLine(python, ["-m", "pip", "--version"]),
    compiler === null ? null : firstLine(compiler, ["--version"]),
  ]);
  return { python3: pythonVersion, pip: pipVersion, "g++": compilerVersion };
}

async function firstLine(program: string, programArguments: readonly string[]): Promise<string | null> {
  const result = await runProgram(program, programArguments, { timeoutMs: 20_000 });
  return result.succeeded ? (result.output.split("\n")[0] ?? "").replace(/ from .*/, "") : null;
}

function toolsFinding(tools: Tools, isNative: boolean): Finding {
  const value = Object.entries(tools)
    .map(([name, version]) => version ?? `no ${name}`)
    .join("; ");
  const complete = Object.values(tools).every((version) => version !== null);
  if (complete || isNative) return { what: "set-up tools", ok: true, value, advice: null };
  const advice = "On Debian and Ubuntu: apt-get install python3-pip g++.";
  return { what: "set-up tools", ok: "warning", value, advice };
}

async function checkEtcd(): Promise<Finding> {
  const what = "etcd";
  try {
    const program = await findEtcd();
    if (program !== null) return { what, ok: true, value: `${program.version}, ${program.path}`, advice: null };
    const advice = "Run `lockstep setup`, let the first run fetch it, or name a running etcd with --etcd.";
    return { what, ok: "warning", value: "not set up yet", advice };
  } catch (error) {
    const advice = error instanceof LockstepError ? (error.hint ?? null) : null;
    return { what, ok: false, value: messageOf(error), advice };
  }
}

// ---- cache ----

async function checkCache(): Promise<Finding> {
  const directory = cacheDirectory();
  const value = `${directory}, ${Math.round((await folderSizeBytes(directory)) / 1e6)} MB`;
  if (await isWritable(directory)) return { what: "cache", ok: true, value, advice: null };
  const advice = "Nothing can be set up there: set XDG_CACHE_HOME to a folder that this user can write to.";
  return { what: "cache", ok: false, value: `${value}, cannot be written to`, advice };
}

/** Whether a folder can be written to or, while it is not there, be made. */
async function isWritable(directory: string): Promise<boolean> {
  const found = await stat(directory).catch(() => null);
  if (found === null) return dirname(directory) !== directory && isWritable(dirname(directory));
  if (!found.isDirectory()) return false;
  return access(directory, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
}
