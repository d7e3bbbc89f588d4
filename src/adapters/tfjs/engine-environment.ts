/**
 * TensorFlow's settings. It reads them from the process' real environment when it is loaded, so whoever opens an engine
 * applies them before. A module of its own: who only starts such a thread or process needs no TensorFlow.js.
 */
import type { EngineChoice } from "./prepare-engine.ts";

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
 * oneDNN's ops are up to three times as fast as TensorFlow's own, which know no vectors wider than 256 bits. They choose their
 * code by the processor, so they give the same bits on processors of one kind alone; the fingerprint has the processor's
 * instructions, and what it makes of fixed numbers.
 */
const oneDnn = { TF_ENABLE_ONEDNN_OPTS: "1", ONEDNN_MAX_CPU_ISA: "ALL", DNNL_MAX_CPU_ISA: "ALL" };

/** As the fingerprint says it. */
export const oneDnnSetting = "ops on, all instructions";

/** The settings that decide the bits. */
export function exactSettings(threads: number): Record<string, string> {
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
