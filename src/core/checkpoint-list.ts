/** Checkpoints as people and `--json` see them: what storage holds of a run, beside what etcd says of it. */
import { contentBytes, type Manifest } from "./manifest.ts";
import { formatBytes, formatCount, formatValue } from "./number-format.ts";
import { type CheckpointRecord, exactnessOf } from "./records.ts";
import type { CheckpointPointer } from "./status.ts";
import { plural, printable, table } from "./summary-table.ts";

/** What etcd says of a run's checkpoints. */
export interface CheckpointsInEtcd {
  readonly pointers: { readonly best: CheckpointPointer | null; readonly latest: CheckpointPointer | null };
  /** By checkpoint id. */
  readonly records: ReadonlyMap<string, CheckpointRecord>;
  /** The names of the pins that keep a checkpoint, by its id. */
  readonly pins: ReadonlyMap<string, readonly string[]>;
}

/**
 * *best*, *latest*: what the pointers name. *pinned*: nothing may delete it. *condemned*: it will be deleted. *set aside*: a
 * worker found it to be another than was written. *unpublished*: whole in storage, and etcd has no record of it. *missing*: published, and not in storage. *corrupt*: its
 * manifest is not what was written, so no more is known of it.
 */
export type Mark = "best" | "latest" | "pinned" | "condemned" | "set aside" | "unpublished" | "missing" | "corrupt";

export interface ListedCheckpoint {
  readonly id: string;
  /** Job and number of the run, as "digits 1"; null where only its name is known. */
  readonly run: string | null;
  readonly lineage: number | null;
  readonly era: number | null;
  readonly step: number | null;
  readonly epoch: number | null;
  readonly stepInEpoch: number | null;
  /** Of the monitored metric; null where the checkpoint lies in the middle of an epoch. */
  readonly value: number | null;
  readonly sizeBytes: number | null;
  readonly marks: readonly Mark[];
  readonly pins: readonly string[];
  readonly exactness: "bit-exact" | "equivalent" | null;
  readonly writtenAt: string | null;
  /** The workers on whose own disks it is; null where all share one place. */
  readonly holders: Holders | null;
}

export interface Holders {
  /** Those in whose directories on this machine it was found. */
  readonly here: readonly string[];
  /** Others that have it, as etcd says. */
  readonly elsewhere: readonly string[];
}

export interface Holding {
  readonly id: string;
  readonly manifest: Manifest;
  /** As in `StoredCheckpoint`. */
  readonly holders?: readonly string[];
}

/** Oldest first, as `stored` is; then what is missing, then what is corrupt. `etcd` is null where nobody asked it. */
export function listCheckpoints(
  stored: readonly Holding[],
  corrupt: readonly string[],
  etcd: CheckpointsInEtcd | null,
  monitor: string,
): readonly ListedCheckpoint[] {
  const marksOf = (id: string): Mark[] => {
    if (etcd === null) return [];
    const { pointers, records, pins } = etcd;
    const record = records.get(id);
    const marks: [Mark, boolean][] = [
      ["best", pointers.best?.id === id],
      ["latest", pointers.latest?.id === id],
      ["pinned", pins.has(id)],
      ["condemned", record?.state === "condemned"],
      ["set aside", record?.state === "set-aside"],
      ["unpublished", record === undefined],
    ];
    return marks.flatMap(([mark, applies]) => (applies ? [mark] : []));
  };
  const pinsOf = (id: string) => etcd?.pins.get(id) ?? [];
  const holdersOf = (id: string, here: readonly string[] = []): Holders | null => {
    const record = etcd?.records.get(id);
    const named = record && record.state !== "condemned" ? (record.pointer.holders ?? []) : [];
    const elsewhere = named.filter((name) => !here.includes(name));
    return here.length + elsewhere.length > 0 ? { here, elsewhere } : null;
  };
  const there = stored.map(({ id, manifest, holders }): ListedCheckpoint => {
    const { job, run, lineage, era, step, epoch, stepInEpoch, writtenAt, metrics, equivalences } = manifest;
    return {
      ...{ id, run: `${job} ${run}`, lineage, era, step, epoch, stepInEpoch, writtenAt },
      value: metrics?.[monitor] ?? null,
      sizeBytes: contentBytes(manifest),
      marks: marksOf(id),
      pins: pinsOf(id),
      exactness: exactnessOf(equivalences),
      holders: holdersOf(id, holders),
    };
  });
  const known = new Set([...stored.map(({ id }) => id), ...corrupt]);
  const missing = [...(etcd?.records ?? [])].flatMap(([id, record]) =>
    record.state === "live" && !known.has(id) ? [record.pointer] : [],
  );
  const unknown = { run: null, era: null, sizeBytes: null, exactness: null, writtenAt: null };
  return [
    ...there,
    ...missing.map(({ id, lineage, step, epoch, stepInEpoch, value }): ListedCheckpoint => {
      const place = { lineage, step, epoch, stepInEpoch, value };
      return { id, ...unknown, ...place, marks: [...marksOf(id), "missing"], pins: pinsOf(id), holders: holdersOf(id) };
    }),
    ...corrupt.map((id): ListedCheckpoint => {
      const nowhere = { lineage: null, step: null, epoch: null, stepInEpoch: null, value: null };
      return { id, ...unknown, ...nowhere, marks: [...marksOf(id), "corrupt"], pins: pinsOf(id), holders: null };
    }),
  ];
}

/** `ageOf` a time of writing, for people. */
export function checkpointsTable(
  rows: readonly ListedCheckpoint[],
  monitor: string,
  etcdIsKnown: boolean,
  ageOf: (writtenAt: string) => string,
): string {
  const runs = new Set(rows.flatMap(({ run }) => (run === null ? [] : [run])));
  const column = <T>(applies: boolean, value: T): T[] => (applies ? [value] : []);
  const areHeld = rows.some(({ holders }) => holders !== null);
  const wentBack = new Set(rows.flatMap(({ lineage }) => lineage ?? [])).size > 1;
  const head = [
    ...["id", ...column(runs.size > 1, "run"), ...column(wentBack, "lineage"), "epoch", "step", monitor, "size", "is"],
    ...["exactness", "age", ...column(areHeld, "held by")],
  ];
  const cells = rows.map((row) => [
    printable(row.id),
    ...column(runs.size > 1, row.run ?? "?"),
    ...column(wentBack, row.lineage === null ? "?" : String(row.lineage)),
    epochText(row),
    row.step === null ? "?" : formatCount(row.step),
    formatValue(row.value),
    row.sizeBytes === null ? "–" : formatBytes(row.sizeBytes),
    row.marks.join(", ") || (etcdIsKnown ? "–" : "?"),
    row.exactness ?? "?",
    row.writtenAt === null ? "–" : ageOf(row.writtenAt),
    ...column(areHeld, holdersText(row.holders)),
  ]);
  const first = head.indexOf(wentBack ? "lineage" : "epoch");
  const numbers = head.indexOf("size") - first + 1;
  return table(
    [head, ...cells],
    Array.from({ length: numbers }, (_, i) => first + i),
  );
}

function holdersText(holders: Holders | null): string {
  if (holders === null) return "–";
  const elsewhere = holders.elsewhere.map((name) => `${name} (not here)`);
  return [...holders.here, ...elsewhere].map(printable).join(", ");
}

function epochText({ epoch, stepInEpoch }: ListedCheckpoint): string {
  if (epoch === null) return "?";
  return stepInEpoch ? `${formatCount(epoch)} + ${plural(stepInEpoch, "step")}` : formatCount(epoch);
}

/** One checkpoint for people, from its manifest alone. */
export function manifestText(
  { id, manifest }: Holding,
  location: string,
  about: { readonly marks: readonly Mark[] | null; readonly pins: readonly string[]; readonly age: string },
): string {
  const { metrics, equivalences, openings, members, fingerprint, files } = manifest;
  const marks = about.marks === null ? "unknown: etcd was not asked" : about.marks.join(", ") || "live";
  const rows: string[][] = [
    ["id", id],
    ["location", location],
    ["is", about.pins.length > 0 ? `${marks} (${about.pins.map(printable).join(", ")})` : marks],
    ["job", `${printable(manifest.job)}, run ${printable(manifest.run)}`],
    [
      "state",
      `step ${formatCount(manifest.step)}, ${place(manifest)}; lineage ${manifest.lineage}, era ${manifest.era}`,
    ],
    ["written", `${manifest.writtenAt}, ${about.age} ago`],
    ["written by", `generation ${manifest.generation}, fencing token ${manifest.fencingToken}`],
    ["state digest", manifest.stateDigest],
    ["weights digest", manifest.weightsDigest],
    ["exactness", exactnessOf(equivalences)],
  ];
  const section = (title: string, lines: readonly string[][], right: readonly number[] = []) =>
    `${title}\n${table(lines, right).replaceAll(/^/gm, "  ")}`;
  const sections = [
    table(rows),
    ...(equivalences.length > 0
      ? [
          section(
            "Only equivalent, because",
            equivalences.map((reason) => [printable(reason)]),
          ),
        ]
      : []),
    ...(openings.length > 0
      ? [
          section(
            "The run went back, and a lineage began",
            openings.map(({ lineage, era, step, reason }) => [
              `lineage ${lineage}, era ${era}`,
              `step ${formatCount(step)}`,
              printable(reason),
            ]),
          ),
        ]
      : []),
    ...(metrics === null
      ? []
      : [
          section(
            "Metrics of the epoch that ended here",
            Object.entries(metrics).map(([name, value]) => [name, formatValue(value)]),
            [1],
          ),
        ]),
    section(
      "Members, in rank order",
      members.map((member, rank) => [String(rank), printable(member)]),
    ),
    section(
      "Fingerprint",
      Object.entries(fingerprint).map(([field, value]) => [printable(field), printable(value)]),
    ),
    section(
      "Files",
      files.map(({ name, sizeBytes, sha256 }) => [name, formatBytes(sizeBytes), `sha256:${sha256}`]),
      [1],
    ),
  ];
  return sections.join("\n\n");
}

function place({ epoch, stepInEpoch }: Manifest): string {
  const ended = `${formatCount(epoch)} epoch${epoch === 1 ? "" : "s"} ended`;
  return stepInEpoch > 0 ? `${ended} and ${plural(stepInEpoch, "step")} of the next` : ended;
}
