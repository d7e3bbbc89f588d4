/** The checkpoint that a start is to go on from, by the name that a person gave it: `best`, an id, or a part of one. */
import { idsMeant, type OfRun } from "../core/checkpoint-id.ts";
import { LockstepError } from "../core/errors.ts";
import { nearestNames } from "../core/nearest-name.ts";
import { compareStates } from "../core/state-order.ts";
import type { CheckpointPointer } from "../core/status.ts";
import type { RunReading } from "./run-reading.ts";

/** Of so many checkpoints each a person is reminded of, those with nearly the name and the newest. */
const namedAtOnce = 3;

export function findCheckpoint(
  wanted: string,
  { checkpoints }: RunReading,
  best: CheckpointPointer | null,
  { job }: OfRun,
): CheckpointPointer | null {
  const meant = idsMeant(
    wanted,
    checkpoints.map(({ pointer }) => pointer.id),
  );
  if (wanted !== "best" && meant.length > 1) {
    throw new LockstepError("usage", `"${wanted}" is a part of ${meant.length} checkpoints' ids.`, {
      hint: `Give more of one of ${meant.slice(0, namedAtOnce).join(", ")}${meant.length > namedAtOnce ? ", …" : ""}.`,
    });
  }
  const id = wanted === "best" ? best?.id : meant[0];
  const found = checkpoints.find(({ pointer }) => pointer.id === id);
  if (found?.state === "set-aside") {
    throw new LockstepError("corrupt-checkpoint", `The checkpoint ${id} of "${job}" was set aside: ${found.reason}`, {
      hint: "Name another one: lockstep checkpoints list shows them.",
    });
  }
  return found?.pointer ?? null;
}

export function noCheckpoint(wanted: string, { checkpoints }: RunReading, { job, run }: OfRun): LockstepError {
  const newestFirst = [...checkpoints].sort((a, b) => compareStates(b.pointer, a.pointer));
  const ids = newestFirst.map(({ pointer }) => pointer.id);
  const near = nearestNames(wanted, ids, namedAtOnce);
  const newest = ids.filter((id) => !near.includes(id)).slice(0, namedAtOnce);
  const rest = ids.length - near.length - newest.length;
  const others = newest.length > 0 ? `; the newest others are ${newest.join(", ")}` : "";
  const left = rest > 0 ? `, and there are ${rest} more` : "";
  const there =
    ids.length === 0
      ? "It has none."
      : `The nearest ${near.length === 1 ? "is" : "are"} ${near.join(", ")}${others}${left}.`;
  return new LockstepError("usage", `Run ${run} of "${job}" has no checkpoint ${wanted}. ${there}`, {
    hint:
      ids.length === 0
        ? "Start it without --resume."
        : `Name one of them, or ${wanted === "best" ? "latest" : "best or latest"}; \`lockstep checkpoints list\` shows all.`,
  });
}
