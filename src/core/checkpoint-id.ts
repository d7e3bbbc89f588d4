/** A checkpoint's id: for people it says of which state it is, and it tells whose right it was begun under before it has a manifest. */

export interface IdPlace {
  readonly step: number;
  readonly generation: number;
  /** The create revision of the leadership key under which it was begun. */
  readonly fencingToken: number;
}

export interface OfRun {
  readonly job: string;
  readonly run: number;
}

/** @param unique what no other one ends with */
export function checkpointId(run: OfRun, { step, generation, fencingToken }: IdPlace, unique: string): string {
  return `${beginningOf(run)}${String(step).padStart(8, "0")}-g${generation}-t${fencingToken}-${unique}`;
}

/** Null: it is no checkpoint of this run. */
export function placeInId(run: OfRun, id: string): IdPlace | null {
  if (!id.startsWith(beginningOf(run))) return null;
  const found = /^(\d{8,})-g(\d+)-t(\d+)-[^-]/.exec(id.slice(beginningOf(run).length));
  return found && { step: Number(found[1]), generation: Number(found[2]), fencingToken: Number(found[3]) };
}

/** Of fewer characters nearly every id has each. */
const shortestPart = 3;

/** The ids that a person may mean by a word: the one that it is, or those that it is a part of. */
export function idsMeant(word: string, ids: readonly string[]): readonly string[] {
  if (ids.includes(word)) return [word];
  return word.length < shortestPart ? [] : ids.filter((id) => id.includes(word));
}

function beginningOf({ job, run }: OfRun): string {
  return `${job}-${run}-step-`;
}
