import { LockstepError } from "../../core/errors.ts";
import { findProgram, runProgram } from "./programs.ts";

/** A GPU as `nvidia-smi` tells of it. */
export interface Gpu {
  /** Its number in PCI bus order; what CUDA_VISIBLE_DEVICES takes once CUDA_DEVICE_ORDER says so. */
  readonly index: number;
  readonly uuid: string;
  readonly model: string;
  readonly memoryBytes: number;
  readonly driverVersion: string;
}

const query = "--query-gpu=index,uuid,name,memory.total,driver_version";
/** A driver in trouble can keep `nvidia-smi` for ever. */
const answerTimeoutMs = 20_000;

/**
 * The GPUs that this process may use, in PCI bus order or, if CUDA_VISIBLE_DEVICES is set, those and in the order that
 * it names. Empty without an `nvidia-smi` on PATH that answers. Starts no process where there is no such program.
 */
export async function listGpus(): Promise<Gpu[]> {
  const program = findProgram("nvidia-smi");
  if (program === null) return [];
  const result = await runProgram(program, [query, "--format=csv,noheader,nounits"], { timeoutMs: answerTimeoutMs });
  if (!result.succeeded) return [];
  const gpus = result.output.split("\n").flatMap(parseLine);
  return selectVisible(gpus, process.env.CUDA_VISIBLE_DEVICES);
}

/**
 * Which GPU each worker gets: worker i gets the i-th; null for all where there is none. With `share` the workers take
 * turns over the GPUs; without it more workers than GPUs are an error ("engine-unavailable").
 */
export function assignGpus(gpus: readonly Gpu[], workers: number, share: boolean): (number | null)[] {
  if (gpus.length > 0 && workers > gpus.length && !share) {
    const has = gpus.length === 1 ? "one GPU" : `${gpus.length} GPUs`;
    throw new LockstepError("engine-unavailable", `${workers} workers need ${workers} GPUs; this machine has ${has}.`, {
      hint: `Start at most ${gpus.length} here, let several use one GPU with --share-gpu, or train with --device cpu.`,
    });
  }
  return Array.from({ length: workers }, (_, worker) => gpus[worker % gpus.length]?.index ?? null);
}

function parseLine(line: string): Gpu[] {
  const [index, uuid, model, memoryMebibytes, driverVersion] = line.split(",").map((field) => field.trim());
  if (index === undefined || !/^\d+$/.test(index) || driverVersion === undefined) return [];
  return [
    {
      index: Number(index),
      uuid: uuid ?? "",
      model: model ?? "",
      // "[N/A]" on machines whose GPU shares the main memory.
      memoryBytes: (Number(memoryMebibytes) || 0) * 2 ** 20,
      driverVersion,
    },
  ];
}

/** As CUDA reads the variable: a list of numbers or UUID beginnings, which ends before the first that names no GPU. */
function selectVisible(gpus: readonly Gpu[], visible: string | undefined): Gpu[] {
  if (visible === undefined) return [...gpus];
  const selected: Gpu[] = [];
  for (const name of visible.split(",").map((part) => part.trim())) {
    const gpu = gpus.find(({ index, uuid }) =>
      /^\d+$/.test(name) ? index === Number(name) : name !== "" && uuid.startsWith(name),
    );
    if (gpu === undefined) break;
    selected.push(gpu);
  }
  return selected;
}
