/** What steps are measured beside: programs that print a line of JSON for the model that they are told. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf } from "../../src/core/errors.ts";
import { peerProgram, pythonCommand } from "../python.ts";
import { median } from "../results.ts";

export interface StepPeer {
  readonly peer: string;
  /** Whether it needs the environment that bench/peers/setup.sh makes. */
  readonly isPython: boolean;
  /** Whether it takes part in this work, with so many workers. */
  readonly takes: (work: string, world: number) => boolean;
  /** Program and words; `jobFile` is the work's. */
  readonly command: (work: string, world: number, jobFile: string) => readonly string[];
}

export const ddp: StepPeer = {
  peer: "torch DDP",
  isPython: true,
  takes: () => true,
  command: (work, world) => [
    ...[pythonCommand("torchrun"), "--standalone", "--nproc-per-node", String(world)],
    ...[peerProgram("torch_ddp.py"), work],
  ],
};

export const multiWorkerMirrored: StepPeer = {
  peer: "TensorFlow MultiWorkerMirrored",
  isPython: true,
  takes: (work) => work !== "step-lstm" && work !== "step-gpt",
  command: (work, world) => [pythonCommand("python"), peerProgram("tf_mwms.py"), String(world), work],
};

export const kerasGraph: StepPeer = {
  peer: "Keras graph",
  isPython: true,
  takes: (work, world) => world === 1 && (work === "step-lstm" || work === "step-gpt"),
  command: (work) => [pythonCommand("python"), peerProgram("keras_graph.py"), work],
};

const alone = (kind: "bare" | "fit") => ({
  isPython: false,
  takes: (_work: string, world: number) => world === 1,
  command: (_work: string, _world: number, jobFile: string) => [
    ...[process.execPath, "--import", "tsx", fileURLToPath(new URL("./alone.ts", import.meta.url))],
    ...[kind, jobFile],
  ],
});

/** The recorded step and its update, without what makes a cluster of it. */
export const bareStep: StepPeer = { peer: "bare step", ...alone("bare") };
/** TensorFlow.js' own, on the same engine. It does not take whole numbers as labels of the places of a text. */
export const modelFit: StepPeer = {
  ...{ peer: "model.fit", ...alone("fit") },
  takes: (work, world) => world === 1 && work !== "step-gpt",
};

export const stepPeers: readonly StepPeer[] = [ddp, multiWorkerMirrored, kerasGraph, bareStep, modelFit];

/** Milliseconds a step. Rejects, with one line, when the program fails or is not done in time. */
export async function measureWith([program, ...words]: readonly string[], timeout: number): Promise<number> {
  const { stdout } = await promisify(execFile)(program!, words, { timeout }).catch((error: unknown) => {
    const isLate = (error as { killed?: boolean }).killed === true; // of Node's own, when the time is over
    throw new Error(
      isLate ? `it was not done within ${timeout / 1000} s` : messageOf(error).trim().split("\n").at(-1)!,
      { cause: error },
    );
  });
  const { samples_ms } = JSON.parse(stdout) as { samples_ms: number[] }; // what the programs print
  return median(samples_ms);
}
