/** Which of a job's runs a start is about: the one that it asks for, else the one that was trained last. */
import { LockstepError } from "../core/errors.ts";
import { decodeJson } from "../core/json.ts";
import { keysOf, runKey } from "../core/keys.ts";
import type { Member } from "../core/membership.ts";
import type { Condition, Coordination, Entry, Operation } from "../ports/coordination.ts";
import type { RunRequest } from "./open-run.ts";
import { unchanged } from "./run-view.ts";

export interface ChosenRun {
  /** 0: the job has no run yet. */
  readonly number: number;
  /** One that no run and no checkpoint has. */
  readonly free: () => Promise<number>;
  /** The key that says which run is trained, as it was read. */
  readonly condition: Condition;
  /** Makes it the one that is trained, where another one was; empty otherwise. */
  readonly selecting: readonly Operation[];
  /** For people. */
  readonly notices: readonly string[];
}

type Wish = Pick<RunRequest, "job" | "run" | "archive">;

/** "usage": there is no such run; "job-running": another run of the job is being trained. */
export async function chooseRun(coordination: Coordination, wish: Wish): Promise<ChosenRun> {
  const { job, archive } = wish;
  const key = runKey(job);
  const current = await coordination.get(key);
  const newest = (await archive?.newestRun()) ?? 0;
  const last = current ? Number(current.value) : 0;
  const chosen = {
    free: () => firstFree(coordination, job, Math.max(last, newest) + 1),
    condition: unchanged(key, current ?? undefined),
  };
  if (wish.run === null || wish.run === last) {
    const number = await trainedLast(coordination, job, current, newest);
    return { ...chosen, number, selecting: [], notices: [] };
  }
  await checkExists(coordination, wish, wish.run);
  if (current) await checkIdle(coordination, job, last);
  return {
    ...chosen,
    number: wish.run,
    selecting: [{ kind: "put", key, value: String(wish.run) }],
    notices: current ? [`The job goes on with run ${wish.run} from here on, and no longer with run ${last}.`] : [],
  };
}

/** An etcd that was put back from an older copy does not know of a run that checkpoints tell of. */
async function trainedLast(coordination: Coordination, job: string, current: Entry | null, newest: number) {
  const last = current ? Number(current.value) : 0;
  const isUnknown = newest > last && !(await coordination.get(keysOf(job, newest).record));
  return isUnknown ? newest : last;
}

async function firstFree(coordination: Coordination, job: string, from: number): Promise<number> {
  let number = from;
  while (await coordination.get(keysOf(job, number).record)) number++;
  return number;
}

async function checkExists(coordination: Coordination, { job, archive }: Wish, run: number): Promise<void> {
  if (await coordination.get(keysOf(job, run).record)) return;
  if (((await archive?.checkpointsOf(run)) ?? []).length > 0) return;
  const next = await firstFree(coordination, job, 1);
  const there = next === 1 ? "It has none yet" : next === 2 ? "It has run 1" : `It has runs 1 to ${next - 1}`;
  throw new LockstepError("usage", `The job "${job}" has no run ${run}. ${there}.`, {
    hint: "Leave --run out to go on with the one that was trained last.",
  });
}

async function checkIdle(coordination: Coordination, job: string, run: number): Promise<void> {
  const keys = keysOf(job, run);
  const members = (await coordination.list(keys.members)).entries.map(({ value }) => decodeJson<Member>(value).name);
  const isServed = (await coordination.get(keys.coordinator)) !== null;
  if (members.length === 0 && !isServed) return;
  const who = [...(isServed ? ["its coordinator"] : []), ...members].join(", ");
  throw new LockstepError(
    "job-running",
    `Run ${run} of "${job}" is under way: ${who} ${who.includes(",") ? "are" : "is"} there.`,
    {
      hint: "Stop it first, for instance with Ctrl-C in its launch; a job trains one run at a time.",
    },
  );
}
