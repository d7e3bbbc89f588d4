/**
 * What the bits of a run depend on, field by field, and what follows when two processes differ in one. A field's first
 * word says which kind it is:
 *
 * - `source.…`: the text that a job is made from. It is compared while a cluster runs, so that nobody trains something
 *   else by accident; when the whole cluster starts again it may be another text, as long as it means the same.
 * - `node.…`: the machine. Another one may round differently, so the run is *equivalent* from then on, and says so.
 * - `told.…`: what was said to come to all this, so that whoever uses a checkpoint can say it again. It is compared nowhere.
 * - all others: whoever differs would train something else, and is refused.
 */
export type Fingerprint = Readonly<Record<string, string>>;

export interface Difference {
  readonly field: string;
  /** The two values, for people. */
  readonly cluster: string;
  readonly own: string;
}

type FieldKind = "source" | "node" | "told" | "meaning";

function kindOf(field: string): FieldKind {
  if (field.startsWith("source.")) return "source";
  if (field.startsWith("told.")) return "told";
  return field.startsWith("node.") ? "node" : "meaning";
}

/** The fields of the given kinds in which two fingerprints differ, in order of their names. */
function differences(cluster: Fingerprint, own: Fingerprint, kinds: readonly FieldKind[]): Difference[] {
  const fields = new Set([...Object.keys(cluster), ...Object.keys(own)]);
  return [...fields]
    .filter((field) => kinds.includes(kindOf(field)) && cluster[field] !== own[field])
    .sort()
    .map((field) => ({ field, cluster: shown(cluster[field]), own: shown(own[field]) }));
}

/** Of a digest, as much as tells two apart. */
function shown(value: string | undefined): string {
  return value?.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1…") ?? "(nothing)";
}

/** Why a process with this fingerprint cannot be in the cluster, as a sentence; null when it fits. */
export function refusalOf(cluster: Fingerprint, own: Fingerprint): string | null {
  const [first] = differences(cluster, own, ["source", "meaning"]);
  return first ? `${first.field} is ${first.own} here and ${first.cluster} in the cluster` : null;
}

/** What makes a run equivalent that was the one and goes on as the other, as sentences. */
function changes(before: Fingerprint, now: Fingerprint): string[] {
  return differences(before, now, ["meaning", "node"]).map(
    ({ field, cluster, own }) => `${field} was ${cluster} and is ${own}`,
  );
}

/** Why a run is only equivalent, once what it was before has met these: what was known, and what is new. */
export function withChanges(known: readonly string[], before: Fingerprint, met: readonly Fingerprint[]): string[] {
  return [...new Set([...known, ...met.flatMap((fingerprint) => changes(before, fingerprint))])];
}

/** The field that such a sentence is about. */
export function changedField(change: string): string {
  return change.split(" ", 1)[0]!;
}

/** What a cluster that starts again is held to: what it was before, made from today's text on today's machines. */
export function continued(before: Fingerprint, now: Fingerprint): Fingerprint {
  const pick = (from: Fingerprint, kinds: readonly FieldKind[]) =>
    Object.entries(from).filter(([field]) => kinds.includes(kindOf(field)));
  return Object.fromEntries([...pick(before, ["meaning"]), ...pick(now, ["source", "node", "told"])]);
}
