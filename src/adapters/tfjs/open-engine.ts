/**
 * Opens the engine that set-up has chosen, in the thread that calls. Whoever started the process has applied
 * `engineEnvironment` before.
 */
import { createRequire } from "node:module";
import { dirname, sep } from "node:path";
import util from "node:util";
import type { KernelBackend } from "@tensorflow/tfjs";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Engine, EngineDescription, EngineKind, TensorFlow } from "../../ports/engine.ts";
import { exactSettings } from "./engine-environment.ts";
import { noteSteps } from "./faster-ops.ts";
import { fusedUpdates } from "./fused.ts";
import type { GraphBackend } from "./graph.ts";
import { loadAddon, preloadLibraries } from "./native-addon.ts";
import { type OpRunner, withoutStatefulRandom } from "./native-random.ts";
import { OpByOpState } from "./op-by-op.ts";
import { type EngineChoice, javaScriptLibrary } from "./prepare-engine.ts";
import { RecordedState } from "./recorded.ts";
import { currentRecorder } from "./recorder.ts";
import { replaceTileGradient } from "./tile-gradient.ts";

const require = createRequire(import.meta.url);

/**
 * Opens the engine for this thread; prints nothing. Threads may open the same one after one another, but only one of a
 * process' threads may compute at a time: the addon keeps the names of all ops' attributes in one set that nothing locks.
 * A thread may open a second engine, and the first one must not be used any more. "engine-unavailable" if the library
 * does not load or does not find its GPU.
 */
export async function openEngine(choice: EngineChoice, options: { threads: number }): Promise<Engine> {
  const tf = loadTensorFlow();
  const threads = choice.kind === "native" ? options.threads : 1;
  const library =
    choice.kind === "native" ? await openNative(tf, choice, threads) : await openJavaScript(tf, choice.kind);
  const description = {
    kind: choice.kind,
    library,
    device: choice.device,
    gpu: choice.device === "gpu" ? usedGpu(choice) : null,
    threads,
    architecture: process.arch,
  };
  if (choice.kind !== "native") {
    return {
      tf,
      description: { ...description, step: "op-by-op", notRecorded: null },
      hold: (shapes) => new OpByOpState(tf, shapes),
      fused: null,
    };
  }
  const backend = tf.backend() as unknown as GraphBackend; // opened above; its package does not declare these
  let notRecorded: EngineDescription["notRecorded"] = null;
  return {
    tf,
    get description() {
      const step = notRecorded === null ? ("recorded" as const) : ("op-by-op" as const);
      return { ...description, step, notRecorded };
    },
    hold: (shapes) =>
      new RecordedState(tf, backend, shapes, (step, reason) => {
        notRecorded ??= `${step}: ${reason}`;
      }),
    fused: fusedUpdates(backend),
  };
}

/**
 * The CommonJS build, as the Node backend requires it: one TensorFlow.js in the thread, not two; and that backend's own modules.
 * Whoever opens a job file besides calls this first: once TypeScript can be loaded, Node.js takes twice as long for every module.
 */
export function loadTensorFlow(): TensorFlow {
  restoreRemovedUtilities();
  const tf = require("@tensorflow/tfjs") as TensorFlow;
  // The package's main module would look for the addon inside the package; these two are all that it adds to that.
  require("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");
  require("@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js");
  replaceTileGradient(tf);
  return tf;
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
  const binding = loadBinding(choice);
  if (choice.device === "gpu" && !binding.isUsingGpuDevice()) {
    throw new LockstepError("engine-unavailable", `TensorFlow ${binding.TF_Version} finds no GPU that it can use.`, {
      hint: "Look at `lockstep doctor`, or train with --device cpu.",
    });
  }
  if (tf.findBackend(nativeBackend) === null) {
    const backend: NodeBackendModule = require("@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js");
    const node = new backend.NodeJSKernelBackend(binding, "@tensorflow/tfjs-node-gpu");
    withoutStatefulRandom(tf, nativeBackend, node as KernelBackend & OpRunner); // its package does not declare these
    letGatherRead(tf);
    noteSteps(tf, nativeBackend);
    tf.registerBackend(nativeBackend, () => node);
  }
  await activate(tf, nativeBackend);
  return `TensorFlow ${binding.TF_Version}`;
}

/** Its kernel looks at the indices before TensorFlow does, to say which one is out of bounds; in a graph TensorFlow does. */
function letGatherRead(tf: TensorFlow): void {
  const gather = tf.getKernel("GatherV2", nativeBackend);
  tf.unregisterKernel("GatherV2", nativeBackend);
  tf.registerKernel({
    ...gather,
    kernelFunc: (parts) => currentRecorder()?.reading(() => gather.kernelFunc(parts)) ?? gather.kernelFunc(parts),
  });
}

/** One a thread, as the addon's tensors belong to the thread that loaded it. */
let loaded: { readonly path: string; readonly binding: NativeBinding } | null = null;

function loadBinding(choice: EngineChoice): NativeBinding {
  const path = choice.bindingPath ?? "";
  if (loaded?.path === path) return loaded.binding;
  // What cannot be loaded says so below.
  preloadLibraries(choice);
  try {
    // The addon's exports are what its C++ source defines.
    loaded = { path, binding: loadAddon(path) as NativeBinding };
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
