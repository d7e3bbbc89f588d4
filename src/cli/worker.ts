/** `lockstep worker`: one process that trains. */
import { dirname, resolve } from "node:path";
import type { Arguments, Command } from "./command.ts";
import { dataPlaceOf, settingsOf, shared } from "./common.ts";
import { httpOptions } from "./http.ts";
import { securityOptions } from "./security.ts";
import { tensorBoardOptions } from "./tensorboard.ts";
import { startWorkerThreads } from "./threads/start-worker-threads.ts";

export const worker: Command = {
  name: "worker",
  summary: "Run one worker of a cluster.",
  argument: { name: "JOB.ts", help: "the job file" },
  options: {
    etcd: shared.etcd,
    job: shared.job,
    name: { value: "NAME", help: "this worker's name (default: the one in its certificate, or worker-PID)" },
    listen: { value: "HOST:PORT", help: "where peers reach this worker (default: 127.0.0.1:0, any free port)" },
    advertise: { value: "HOST:PORT", help: "what peers are told, where it differs from --listen" },
    set: { ...shared.set, help: "what the coordinator was told, where the job should be opened before it is asked" },
    param: { ...shared.param, help: "the same, of the job's parameters" },
    data: shared.data,
    "data-memory": shared.dataMemory,
    checkpoints: {
      value: "DIR|URL",
      help: "where checkpoints are, or s3://BUCKET/PREFIX; all workers share it, or with --replicas none do",
    },
    "store-listen": {
      value: "HOST:PORT",
      help: "with --replicas: where others fetch this worker's checkpoints (default: the host of --listen, any free port)",
    },
    "store-advertise": { value: "HOST:PORT", help: "what others are told, where it differs from --store-listen" },
    "on-finish": {
      value: "exit|wait",
      help: "once the run is finished or stopped: end, or stand idle and healthy until it goes on (default: exit)",
    },
    ...httpOptions,
    engine: shared.engine,
    device: shared.device,
    ...tensorBoardOptions,
    gpu: { value: "I", help: "the number of the GPU to use (default: 0)" },
    ...securityOptions,
    "log-level": shared.logLevel,
  },
  details: `Ends by itself when the job is finished, unless --on-finish wait is given: for supervisors that start again whatever ends. It
then ends with exit code 75 when a later start gives it something to do. SIGTERM: it leaves in order, and the others go on without it.`,
  run: runWorkerCommand,
};

async function runWorkerCommand(args: Arguments): Promise<number> {
  const jobPath = resolve(args.argument);
  const data = dataPlaceOf(args, dirname(jobPath));
  // First of all: they load TensorFlow.js, the job file, its data and gRPC, while this thread loads what it needs itself.
  const threads = startWorkerThreads({ jobPath, settings: settingsOf(args), data });
  try {
    const { runWorker } = await import("./run-worker.ts");
    return await runWorker(args, threads);
  } finally {
    await threads.stop();
  }
}
