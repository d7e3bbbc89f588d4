/** The step benchmark's rows, with their goals, from what was measured. */
import { type Beside, type Measured, type Result, resultsOf } from "../results.ts";
import type { StepModel } from "./models.ts";
import { bareStep, ddp, kerasGraph, modelFit, multiWorkerMirrored } from "./peers.ts";

export const own = "lockstep";

/** Milliseconds a step, one figure a round. */
export class Readings {
  readonly #all = new Map<string, number[]>();

  /** @param subject `own`, or a peer */
  add(subject: string, work: string, world: number, ms: number): void {
    this.#all.set(keyOf(subject, work, world), [...this.of(subject, work, world), ms]);
  }

  of(subject: string, work: string, world: number): readonly number[] {
    return this.#all.get(keyOf(subject, work, world)) ?? [];
  }
}

const keyOf = (subject: string, work: string, world: number) => `${subject} ${work} ${world}`;

const fitGoals: Readonly<Record<string, number>> = { mlp512: 2, cnn: 1.3, lstm: 5 };
const ddpGoals: Readonly<Record<string, number>> = { mlp512: 1.25, mlp2048: 1.25, cnn: 1.25, gpt: 1 };
/** At most 5 % more than the bare step. */
const machineryGoal = 1 / 1.05;
/** Of how many workers over one, and on which model. */
const scaling = { name: "cnn", world: 2, goal: 1.6 };

export function rowsOf(models: readonly StepModel[], worlds: readonly number[], readings: Readings): Result[] {
  return worlds.flatMap((world) => models.flatMap((model) => rowsOfModel(model, world, readings)));
}

function rowsOfModel({ work, batch }: StepModel, world: number, readings: Readings): Result[] {
  const name = work.replace("step-", "");
  const of = (subject: string, w = world) => readings.of(subject, work, w);
  const beside = (peer: string, goal: number | null): Beside[] =>
    of(peer).length === 0 ? [] : [{ peer, samples: of(peer), goal }];
  const rate = (stepsMs: readonly number[]) => stepsMs.map((ms) => (1000 * batch) / ms);
  const measured: Measured = { work, world, unit: "ms", samples: of(own) };
  const rows = resultsOf(measured, [
    ...beside(ddp.peer, ddpGoals[name] ?? null),
    ...beside(multiWorkerMirrored.peer, 1),
    ...beside(kerasGraph.peer, 1),
  ]);
  const rated = (row: string, besides: readonly Beside[]) => {
    const samplesS = besides.map((one) => ({ ...one, samples: rate(one.samples) }));
    return besides.length === 0
      ? []
      : resultsOf({ work: row, world, unit: "samples/s", samples: rate(of(own)) }, samplesS);
  };
  const alone = of(own, 1);
  const isScaled = name === scaling.name && world === scaling.world && alone.length > 0;
  return [
    ...rows,
    ...rated(`fit-${name}`, beside(modelFit.peer, fitGoals[name] ?? null)),
    ...beside(bareStep.peer, machineryGoal).flatMap((bare) =>
      resultsOf({ ...measured, work: name === "mlp512" ? "machinery" : `machinery-${name}` }, [bare]),
    ),
    ...rated(`scaling-${name}`, isScaled ? [{ peer: "W = 1", samples: alone, goal: scaling.goal }] : []),
  ];
}
