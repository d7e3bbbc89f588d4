/** What steps are measured beside: programs that print a line of JSON for each model that they are told. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf } from "../../src/core/errors.ts";
import { peerProgram, pythonCommand } from "../python.ts";
import { median } from "../results.ts";
import { jobFile, type StepModel } from "./models.ts";

export interface StepPeer {
  readonly peer: string;
  /** Whether it needs the environment that bench/peers/setup.sh makes. */
  readonly isPython: boolean;
  /** Whether it takes part, with so many workers. */
  readonly takes: (model: StepModel, world: number) => boolean;
  /** Program and words; `folder` has the models' job files. */
  readonly command: (chosen: readonly StepModel[], world: number, folder: string) => readonly string[];
}

const works = (chosen: readonly StepModel[]) => chosen.map(({ work }) => work);

export const ddp: StepPeer = {
  peer: "torch DDP",
  isPython: true,
  takes: () => true,
  command: (chosen, world) => [
    ...[pythonCommand("torchrun"), "--standalone", "--nproc-per-node", String(world)],
    ...[peerProgram("torch_ddp.py"), ...works(chosen)],
  ],
};

export const multiWorkerMirrored: StepPeer = {
  peer: "TensorFlow MultiWorkerMirrored",
  isPython: true,
  takes: ({ work }) => work !== "step-lstm",
  command: (chosen, world) => [pythonCommand("python"), peerProgram("tf_mwms.py"), String(world), ...works(chosen)],
};

export const kerasGraph: StepPeer = {
  peer: "Keras graph",
  isPython: true,
  takes: ({ work }, world) => world === 1 && work === "step-lstm",
  command: () => [pythonCommand("python"), peerProgram("keras_graph.py")],
};

const alone = (kind: "bare" | "fit") => ({
  isPython: false,
  takes: (_model: StepModel, world: number) => world === 1,
  command: (chosen: readonly StepModel[], _world: number, folder: string) => [
    ...[process.execPath, "--import", "tsx", fileURLToPath(new URL("./alone.ts", import.meta.url)), kind],
    ...chosen.map((model) => jobFile(folder, model)),
  ],
});

/** The recorded step and its update, without what makes a cluster of it. */
export const bareStep: StepPeer = { peer: "bare step", ...alone("bare") };
/** TensorFlow.js' own, on the same engine. */
export const modelFit: StepPeer = { peer: "model.fit", ...alone("fit") };

export const stepPeers: readonly StepPeer[] = [ddp, multiWorkerMirrored, kerasGraph, bareStep, modelFit];

/** Milliseconds a step, by work. Rejects, with one line, when the program fails or is not done in time. */
export async function measureWith(
  { takes, command }: StepPeer,
  all: readonly StepModel[],
  { world, folder, limitMs }: { world: number; folder: string; limitMs: number },
): Promise<ReadonlyMap<string, number>> {
  const chosen = all.filter((model) => takes(model, world));
  if (chosen.length === 0) return new Map();
  const [program, ...words] = command(chosen, world, folder);
  const timeout = chosen.length * limitMs;
  const { stdout } = await promisify(execFile)(program!, words, { timeout }).catch((error: unknown) => {
    const isLate = (error as { killed?: boolean }).killed === true; // of Node's own, when the time is over
    throw new Error(
      isLate ? `it was not done within ${timeout / 1000} s` : messageOf(error).trim().split("\n").at(-1)!,
      { cause: error },
    );
  });
  const lines = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { work: string; samples_ms: number[] }); // what the programs print
  return new Map(lines.map(({ work, samples_ms }) => [work, median(samples_ms)]));
}
