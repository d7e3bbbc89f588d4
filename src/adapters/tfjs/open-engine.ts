/**
 * Opens the engine that set-up has chosen, in the thread that calls. TensorFlow reads its settings from the process'
 * real environment when it is loaded, and a worker thread only has a copy of that; so whoever starts the thread or the
 * process applies `engineEnvironment` first.
 */
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, sep } from "node:path";
import util from "node:util";
import type { KernelBackend } from "@tensorflow/tfjs";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Engine, EngineKind, Step, Tensor, TensorFlow } from "../../ports/engine.ts";
import { hasAvx2 } from "../system/processor.ts";
import { withNativeRandom } from "./native-random.ts";
import { type EngineChoice, javaScriptLibrary } from "./prepare-engine.ts";

const require = createRequire(import.meta.url);

export interface EngineProcessOptions {
  /** Threads inside one op. */
  readonly threads: number;
  /** The GPU to use, as `assignGpus` numbered it; null for none. */
  readonly gpuIndex: number | null;
}

/**
 * What must be in the environment before the native library is loaded. Settings that decide the bits are always set;
 * for purely local ones a value that the user has set is kept.
 */
export function engineEnvironment(choice: EngineChoice, options: EngineProcessOptions): Record<string, string> {
  if (choice.kind !== "native") return {};
  return {
    TF_CPP_MIN_LOG_LEVEL: process.env.TF_CPP_MIN_LOG_LEVEL ?? "3",
    TF_FORCE_GPU_ALLOW_GROWTH: process.env.TF_FORCE_GPU_ALLOW_GROWTH ?? "true",
    // `nvidia-smi` and therefore `gpuIndex` count so; CUDA of itself would count the fastest first.
    CUDA_DEVICE_ORDER: "PCI_BUS_ID",
    CUDA_VISIBLE_DEVICES: choice.device === "gpu" && options.gpuIndex !== null ? String(options.gpuIndex) : "",
    ...exactSettings(options.threads),
  };
}

/**
 * oneDNN's own ops choose their algorithm by the processor. Matrix products go through oneDNN even without them, so its
 * instruction set is fixed too: the newest that every processor of the last ten years has.
 */
const oneDnn = { TF_ENABLE_ONEDNN_OPTS: "0", ONEDNN_MAX_CPU_ISA: "AVX2", DNNL_MAX_CPU_ISA: "AVX2" };

/** As the fingerprint says it. */
export const oneDnnSetting = `ops off, at most ${oneDnn.ONEDNN_MAX_CPU_ISA}`;

/** The settings that decide the bits. */
function exactSettings(threads: number): Record<string, string> {
  return {
    // How many threads share an op decides how its sums are split.
    TF_NUM_INTRAOP_THREADS: String(threads),
    OMP_NUM_THREADS: String(threads),
    // One op after the other: the order in which a graph's ops run cannot depend on the machine's load.
    TF_NUM_INTEROP_THREADS: "1",
    ...oneDnn,
    // On a GPU: no atomic sums, and no algorithm chosen by a race.
    TF_DETERMINISTIC_OPS: "1",
    TF_CUDNN_DETERMINISTIC: "1",
    TF_CUDNN_USE_AUTOTUNE: "0",
  };
}

/**
 * Opens the engine for this thread; prints nothing. Several threads may each open the same one. A thread may open a
 * second engine, and the first one must not be used any more. "engine-unavailable" if the library does not load or does
 * not find its GPU.
 */
export async function openEngine(choice: EngineChoice, options: { threads: number }): Promise<Engine> {
  // The CommonJS build, as the Node backend requires it: one TensorFlow.js in the thread, not two.
  const tf = require("@tensorflow/tfjs") as TensorFlow;
  const threads = choice.kind === "native" ? options.threads : 1;
  const library =
    choice.kind === "native" ? await openNative(tf, choice, threads) : await openJavaScript(tf, choice.kind);
  const gpu = choice.device === "gpu" ? usedGpu(choice) : null;
  return {
    tf,
    description: {
      kind: choice.kind,
      library,
      device: choice.device,
      gpu,
      threads,
      step: "op-by-op",
      architecture: process.arch,
    },
    record: (_name, step) => opByOp(tf, choice.kind === "native" ? withNativeMasks(tf, step) : step),
  };
}

function withNativeMasks(tf: TensorFlow, step: Step): Step {
  return (inputs) => withNativeRandom(tf, () => step(inputs));
}

/** The step as the port wants it: nothing but the outputs is left, and no output is also an input or another output. */
function opByOp(tf: TensorFlow, step: Step): Step {
  return (inputs) =>
    tf.tidy(() => {
      const taken = new Set<Tensor>(inputs);
      return step(inputs).map((output) => {
        const own = taken.has(output) || output.kept || output instanceof tf.Variable ? output.clone() : output;
        taken.add(own);
        return own;
      });
    });
}

// ---- native ----

/** What of the addon is used here; the rest is the Node backend's business. */
interface NativeBinding {
  readonly TF_Version: string;
  isUsingGpuDevice(): boolean;
}

interface NodeBackendModule {
  readonly NodeJSKernelBackend: new (binding: NativeBinding, packageName: string) => KernelBackend;
}

const nativeBackend = "tensorflow";

async function openNative(tf: TensorFlow, choice: EngineChoice, threads: number): Promise<string> {
  requireEnvironment(threads);
  restoreRemovedUtilities();
  const binding = loadBinding(choice);
  if (choice.device === "gpu" && !binding.isUsingGpuDevice()) {
    throw new LockstepError("engine-unavailable", `TensorFlow ${binding.TF_Version} finds no GPU that it can use.`, {
      hint: "Look at `lockstep doctor`, or train with --device cpu.",
    });
  }
  if (tf.findBackend(nativeBackend) === null) {
    // The package's main module would look for the addon inside the package; these two are all that it adds to that.
    require("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");
    const backend: NodeBackendModule = require("@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js");
    const node = new backend.NodeJSKernelBackend(binding, "@tensorflow/tfjs-node-gpu");
    tf.registerBackend(nativeBackend, () => node);
  }
  await activate(tf, nativeBackend);
  // Below the instruction set that is fixed above the bits are others, which the fingerprint has to say.
  return `TensorFlow ${binding.TF_Version}${hasAvx2() ? "" : " (no AVX2)"}`;
}

/** One a thread, as the addon's tensors belong to the thread that loaded it. */
let loaded: { readonly path: string; readonly binding: NativeBinding } | null = null;

/**
 * Never unloaded, not even when the last thread that uses it ends: TensorFlow's own threads go on, and would run in
 * memory that is gone.
 */
const neverUnload = process.platform === "darwin" ? 0x80 : 0x1000;

function loadBinding(choice: EngineChoice): NativeBinding {
  const path = choice.bindingPath ?? "";
  if (loaded?.path === path) return loaded.binding;
  try {
    // The addon's exports are what its C++ source defines.
    const target = { exports: {} as NativeBinding };
    process.dlopen(target, path, constants.dlopen.RTLD_LAZY | neverUnload);
    loaded = { path, binding: target.exports };
    return loaded.binding;
  } catch (error) {
    throw new LockstepError(
      "engine-unavailable",
      `The native engine at ${path} cannot be loaded: ${messageOf(error)}.`,
      {
        hint: "Run `lockstep setup`; if that does not help, delete the cache folder that `lockstep doctor` names.",
        cause: error,
      },
    );
  }
}

/** Without its settings the library would compute, but to other bits: that must not pass unseen. */
function requireEnvironment(threads: number): void {
  for (const [name, value] of Object.entries(exactSettings(threads))) {
    if (process.env[name] === value) continue;
    const found = process.env[name] ?? "nothing";
    throw new LockstepError(
      "internal",
      `The environment says ${name}=${found}, expected ${value}: engineEnvironment was not applied.`,
    );
  }
}

/** Node 22 warns of these functions and Node 23 lacks them; the Node backend calls them in every op. */
function restoreRemovedUtilities(): void {
  Object.assign(util, {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: (value: unknown) => Array.isArray(value),
  });
}

function usedGpu(choice: EngineChoice): string | null {
  const index = Number(process.env.CUDA_VISIBLE_DEVICES);
  return choice.gpus.find((gpu) => gpu.index === index)?.model ?? null;
}

// ---- without native code ----

async function openJavaScript(tf: TensorFlow, kind: Exclude<EngineKind, "native">): Promise<string> {
  if (kind === "wasm") {
    const { setWasmPaths }: { setWasmPaths: (folder: string) => void } = require("@tensorflow/tfjs-backend-wasm");
    if (tf.getBackend() !== "wasm") setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}${sep}`);
  }
  const withoutListeners = rememberListeners();
  await activate(tf, kind);
  withoutListeners();
  if (kind === "cpu") {
    // On its first use this backend prints an advertisement for the native one.
    Object.assign(tf.backend(), { firstUse: false });
  }
  return javaScriptLibrary(kind);
}

/** The WebAssembly module's glue code catches all that is uncaught in the process; returns what undoes that. */
function rememberListeners(): () => void {
  const events = ["uncaughtException", "unhandledRejection"];
  const before = new Map(events.map((event) => [event, new Set(process.rawListeners(event))]));
  return () => {
    for (const [event, known] of before) {
      for (const listener of process.rawListeners(event)) {
        // `rawListeners` types what it returns as Function; what was registered can be removed.
        if (!known.has(listener)) process.removeListener(event, listener as () => void);
      }
    }
  };
}

async function activate(tf: TensorFlow, backend: string): Promise<void> {
  if (!(await tf.setBackend(backend)) || tf.getBackend() !== backend) {
    throw new LockstepError("engine-unavailable", `TensorFlow.js cannot start its backend "${backend}".`);
  }
}
