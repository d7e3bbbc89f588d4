/**
 * Set-up: which engine this machine can have, and getting it there. In this order: TensorFlow's shared libraries of
 * today's Python wheel with the binding compiled against them; the library that TensorFlow.js' own package would
 * download; and, if any engine will do, a TensorFlow.js backend without native code. Where a GPU answers, first both
 * for CUDA. Nothing outside the cache is changed.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Device, EngineKind } from "../../ports/engine.ts";
import { buildEntry, findEntry, isCacheWritable } from "../system/cache.ts";
import { type Gpu, listGpus } from "../system/gpus.ts";
import {
  hasCudaLibraries,
  librariesFor,
  type NativeLibrary,
  prepareCudaLibraries,
  sharedObjectFolder,
} from "../system/native-library.ts";
import { findProgram } from "../system/programs.ts";
import { type Say, withProgress } from "../system/progress.ts";
import { type Binding, findBinding, loadInAnotherProcess, prepareBinding } from "./binding.ts";

export interface EngineWish {
  readonly engine: "auto" | EngineKind;
  readonly device: "auto" | Device;
}

/** What `openEngine` opens: plain JSON, so that it can be handed to another thread or process. */
export interface EngineChoice {
  readonly kind: EngineKind;
  readonly device: Device;
  /** Name and version of what computes, as "TensorFlow 2.21.0". */
  readonly library: string;
  /** The native addon's path; null without native code. */
  readonly bindingPath: string | null;
  /** The shared libraries that the addon needs; empty without native code. */
  readonly libraryPaths: readonly string[];
  /** The GPUs to assign to workers; empty unless the device is a GPU. */
  readonly gpus: readonly Gpu[];
  /** One sentence for the user, when this is slower than what was hoped for; else null. */
  readonly notice: string | null;
}

/** One thing that was tried, and why it failed. */
interface Failure {
  readonly what: string;
  readonly why: string;
}

const require = createRequire(import.meta.url);
const tensorFlowJsVersion: string = require("@tensorflow/tfjs/package.json").version;

/**
 * Decides on the engine, and fetches and builds what is missing. Silent and quick when everything is there.
 * "engine-unavailable" when the wish cannot be met, with each thing that was tried and why it failed.
 */
export async function prepareEngine(wish: EngineWish, say: Say): Promise<EngineChoice> {
  refuseContradiction(wish);
  if (wish.engine === "wasm" || wish.engine === "cpu") return javaScriptChoice(wish.engine, null);
  const gpus = wish.device === "cpu" ? [] : await listGpus();
  const failures: Failure[] = [];
  if (wish.device === "gpu" && gpus.length === 0) throw unavailable(wish, [noGpu()]);
  if (gpus.length > 0) {
    const binding = await tryNative(librariesFor("cuda"), failures, say, (found) => prepareGpuUse(found, gpus, say));
    if (binding !== null) return nativeChoice(binding, "gpu", gpus, null);
    if (wish.device === "gpu") throw unavailable(wish, failures);
  }
  const notice =
    gpus.length === 0
      ? null
      : `This machine's GPU cannot be used (${listReasons(failures)}), so this run computes on the CPU.`;
  const binding = (await findForCpu()) ?? (await tryNative(librariesFor("cpu"), failures, say));
  if (binding !== null) return nativeChoice(binding, "cpu", [], notice);
  if (wish.engine === "native") throw unavailable(wish, failures);
  return fallback(failures);
}

/** Fetches and builds what GPUs need where there are none, for an image that will run beside some. Returns what computes there. */
export async function prepareForGpus(say: Say): Promise<string> {
  const failures: Failure[] = [];
  const current = librariesFor("cuda").filter(({ source }) => source === "wheel");
  const binding = await tryNative(current, failures, say, async () => {
    await prepareCudaLibraries(say);
  });
  if (binding === null) throw unavailable({ engine: "native", device: "gpu" }, failures);
  return binding.library.title;
}

/** What `prepareEngine` would choose from what is there already. Fetches and builds nothing; null if it would have to. */
export async function findEngine(wish: EngineWish): Promise<EngineChoice | null> {
  refuseContradiction(wish);
  if (wish.engine === "wasm" || wish.engine === "cpu") return javaScriptChoice(wish.engine, null);
  const gpus = wish.device === "cpu" ? [] : await listGpus();
  if (gpus.length > 0) {
    const binding = await findFirst(librariesFor("cuda"));
    const ready = binding !== null && (await findEntry(gpuUseEntry(binding, gpus))) !== null;
    return ready ? nativeChoice(binding, "gpu", gpus, null) : null;
  }
  const binding = wish.device === "gpu" ? null : await findForCpu();
  return binding === null ? null : nativeChoice(binding, "cpu", [], null);
}

function refuseContradiction({ engine, device }: EngineWish): void {
  if (device !== "gpu" || engine === "auto" || engine === "native") return;
  throw new LockstepError(
    "engine-unavailable",
    `The engine "${engine}" computes on the CPU only, but the device "gpu" was asked for.`,
    {
      hint: "Use --engine native with --device gpu.",
    },
  );
}

/** The first library that there is a binding to already, else the first that one can be made to. */
async function tryNative(
  libraries: readonly NativeLibrary[],
  failures: Failure[],
  say: Say,
  afterwards: (binding: Binding) => Promise<void> = async () => {},
): Promise<Binding | null> {
  if (libraries.length === 0) {
    failures.push({ what: "native TensorFlow", why: `there is none for ${process.platform}-${process.arch}` });
  }
  const found = await findFirst(libraries);
  const candidates = found === null ? libraries : [found.library];
  for (const library of candidates) {
    try {
      const binding = found ?? (await prepareBinding(library, say));
      await afterwards(binding);
      return binding;
    } catch (error) {
      failures.push({
        what: `${library.title} (${library.variant === "cuda" ? "CUDA" : "CPU"})`,
        why: messageOf(error),
      });
    }
  }
  return null;
}

async function findFirst(libraries: readonly NativeLibrary[]): Promise<Binding | null> {
  for (const library of libraries) {
    const binding = await findBinding(library);
    if (binding !== null) return binding;
  }
  return null;
}

/** A CUDA build computes on the CPU as well, to the same bits; it is used where it is there and a CPU build is not. */
async function findForCpu(): Promise<Binding | null> {
  return (
    (await findFirst(librariesFor("cpu"))) ?? findFirst(librariesFor("cuda").filter(({ source }) => source === "wheel"))
  );
}

/**
 * Makes sure that TensorFlow can use the GPUs that `nvidia-smi` tells of: fetches CUDA's libraries and has another
 * process look. Only a success is remembered, for this driver and these GPUs; where nothing can be written, as in an image, each
 * start looks.
 */
async function prepareGpuUse(binding: Binding, gpus: readonly Gpu[], say: Say): Promise<void> {
  const look = async () => {
    if (!(await hasCudaLibraries(binding.library))) await prepareCudaLibraries(say);
    const visible = gpus.map(({ index }) => index).join(",");
    const looking = loadInAnotherProcess(binding.path, {
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
      CUDA_VISIBLE_DEVICES: visible,
    });
    const { usesGpu } = await withProgress(say, () => "asking TensorFlow for its GPUs", looking);
    if (!usesGpu) throw new Error(`it does not find the GPU that nvidia-smi tells of (${gpus[0]?.model})`);
    return {};
  };
  if (await isCacheWritable()) await buildEntry(gpuUseEntry(binding, gpus), look);
  else await look();
}

function gpuUseEntry(binding: Binding, gpus: readonly Gpu[]): string {
  const models = gpus.map(({ uuid }) => uuid.slice(0, 12)).join("-");
  return `engine/gpu-${binding.library.name}-driver-${gpus[0]?.driverVersion}-${models}`.replaceAll(/[^\w./-]/g, "_");
}

function nativeChoice(binding: Binding, device: Device, gpus: readonly Gpu[], notice: string | null): EngineChoice {
  const { path: bindingPath, library } = binding;
  const libraryPaths = library.libraryNames.map((name) => join(sharedObjectFolder(library), name));
  return { kind: "native", device, library: library.title, bindingPath, libraryPaths, gpus, notice };
}

function javaScriptChoice(kind: "wasm" | "cpu", notice: string | null): EngineChoice {
  const library = javaScriptLibrary(kind);
  return { kind, device: "cpu", library, bindingPath: null, libraryPaths: [], gpus: [], notice };
}

/** Name and version of an engine without native code. */
export function javaScriptLibrary(kind: "wasm" | "cpu"): string {
  // JavaScript's mathematical functions are Node's own, and may round differently in another version of it.
  const what = kind === "wasm" ? "WebAssembly" : `JavaScript, Node ${process.versions.node.split(".")[0]}`;
  return `TensorFlow.js ${tensorFlowJsVersion} (${what})`;
}

function fallback(failures: readonly Failure[]): EngineChoice {
  const hasWasm = "WebAssembly" in globalThis;
  const slower = hasWasm ? "in WebAssembly, about 15 times slower" : "in JavaScript, about 60 times slower";
  const notice = `No native TensorFlow can be had here (${listReasons(failures)}), so this run computes ${slower}; \`lockstep doctor\` says what to do.`;
  return javaScriptChoice(hasWasm ? "wasm" : "cpu", notice);
}

function listReasons(failures: readonly Failure[]): string {
  return failures.map(({ what, why }) => `${what}: ${why}`).join("; ");
}

function noGpu(): Failure {
  const why =
    findProgram("nvidia-smi") === null
      ? "nvidia-smi is not on PATH"
      : "nvidia-smi tells of none that this process may use";
  return { what: "NVIDIA GPU", why };
}

function unavailable({ engine, device }: EngineWish, failures: readonly Failure[]): LockstepError {
  const wanted =
    device === "gpu"
      ? "A GPU was asked for and cannot be used"
      : `The engine "${engine}" cannot be had on this machine`;
  const onGpu = "Check that `nvidia-smi` lists the GPU, or train with --device cpu.";
  const native =
    "Set-up needs python3 with pip, and g++ (on Debian: apt-get install python3-pip g++); or train with --engine wasm, slowly.";
  return new LockstepError("engine-unavailable", `${wanted}. Tried: ${listReasons(failures)}.`, {
    hint: device === "gpu" ? onGpu : native,
  });
}
