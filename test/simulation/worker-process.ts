/** What a worker's process does around the runtime's `Worker`, as src/cli/run-worker.ts does it; and what is watched of it. */
import { decodeJson } from "../../src/core/json.ts";
import { type Keys, keysOf, runKey } from "../../src/core/keys.ts";
import type { Progress } from "../../src/core/progress.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { Compute } from "../../src/ports/compute.ts";
import type { Coordination } from "../../src/ports/coordination.ts";

export const jobName = "tiny";
/** The only run that a simulation has. */
export const keys: Keys = keysOf(jobName, 1);

/** As in src/cli/run-worker.ts: a coordinator has to write down first what the run is. */
export async function findRun(
  coordination: Coordination,
  sleep: (ms: number) => Promise<void>,
  pauseMs: number,
): Promise<JobRecord> {
  for (;;) {
    const run = await coordination.get(runKey(jobName));
    const record = run && (await coordination.get(keys.record));
    if (record) return decodeJson<JobRecord>(record.value);
    await sleep(pauseMs);
  }
}

interface Watchers {
  readonly onRun: (generation: number) => void;
  readonly onEnd: () => void;
  readonly onStop: () => void;
  readonly onState: (progress: Progress | null, values: Float32Array) => void;
  readonly initialValues: Float32Array;
}

/** Tells of every state that is taken, of every run that begins and ends, and of every stop. */
export function watched(compute: Compute, { onRun, onEnd, onStop, onState, initialValues }: Watchers): Compute {
  return {
    ...compute,
    async initialize(place) {
      await compute.initialize(place);
      onState(null, initialValues);
    },
    async restore(state) {
      await compute.restore(state);
      onState(decodeJson<Progress>(state.progress), state.values);
    },
    run(assignment) {
      onRun(assignment.generation);
      return compute.run(assignment).finally(onEnd);
    },
    freeze() {
      onStop();
      return compute.freeze();
    },
  };
}
