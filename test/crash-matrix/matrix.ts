/** The table of the matrix, its cells, and how they are run. */
import { messageOf } from "../../src/core/errors.ts";

export const faultKinds = [
  "sigkill",
  "power-loss",
  "enospc",
  "eio-write",
  "eio-fsync",
  "eio-read",
  "short-write",
  "flip-on-the-way",
  "stopped-leader",
  "lost-reply",
  "etcd-lost",
  "flipped-bit",
  "two-leaders",
  "deposed-deletes",
  "wall-clock",
  "reader-while-pruned",
  "newer-manifest",
  "path-with-dots",
  "oversized-header",
  "nan-metrics",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface Cell {
  readonly fault: FaultKind;
  /** Where: a point of writing, a file, or what is done. */
  readonly where: string;
  /** Returns how many faults it saw happen; throws where something does not hold. */
  readonly run: () => Promise<number>;
}

export type Verdict =
  | { readonly kind: "passed"; readonly faults: number }
  | { readonly kind: "failed"; readonly why: string }
  | { readonly kind: "skipped"; readonly why: string };

export interface Result {
  readonly cell: Pick<Cell, "fault" | "where">;
  readonly verdict: Verdict;
}

/** The results are in the order of the cells. */
export async function runCells(
  cells: readonly Cell[],
  { atOnce, untilFailure }: { readonly atOnce: number; readonly untilFailure: boolean },
): Promise<readonly Result[]> {
  const results: Result[] = new Array(cells.length);
  const queue = [...cells.entries()];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [at, cell] = next;
      const verdict = await verdictOf(cell);
      results[at] = { cell, verdict };
      if (untilFailure && verdict.kind === "failed") queue.length = 0;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  // Without those that were not run.
  return results.filter((result) => result !== undefined);
}

async function verdictOf(cell: Cell): Promise<Verdict> {
  try {
    const faults = await cell.run();
    if (faults > 0) return { kind: "passed", faults };
    return { kind: "failed", why: "the fault did not happen" };
  } catch (error) {
    return { kind: "failed", why: messageOf(error) };
  }
}

export interface Summary {
  readonly run: number;
  readonly failed: number;
  readonly skipped: number;
  /** How many faults of each kind happened. */
  readonly faults: Readonly<Record<string, number>>;
}

export function summaryOf(results: readonly Result[]): Summary {
  const faults: Record<string, number> = {};
  for (const { cell, verdict } of results) {
    faults[cell.fault] = (faults[cell.fault] ?? 0) + (verdict.kind === "passed" ? verdict.faults : 0);
  }
  const count = (kind: Verdict["kind"]) => results.filter(({ verdict }) => verdict.kind === kind).length;
  return { run: count("passed") + count("failed"), failed: count("failed"), skipped: count("skipped"), faults };
}

/** Points down, in this order, faults across for what has both; then a line for each of the others. */
export function tableOf(results: readonly Result[], points: readonly string[]): string {
  const pointwise = results.filter(({ cell }) => isPointwise(cell.fault));
  const columns = faultKinds.filter((kind) => pointwise.some(({ cell }) => cell.fault === kind));
  // "write STAGING/state.json, halfway" comes after the point itself.
  const placeOf = (row: string) => points.indexOf(row.split(", ")[0]!);
  const rows = [...new Set(pointwise.map(({ cell }) => cell.where))].sort((a, b) => placeOf(a) - placeOf(b));
  const width = Math.max(5, ...rows.map((row) => row.length));
  const line = (first: string, cells: readonly string[]) =>
    [first.padEnd(width), ...cells.map((cell, i) => cell.padStart(Math.max(4, columns[i]!.length)))].join("  ");
  const mark = (row: string, column: FaultKind) => {
    const found = pointwise.find(({ cell }) => cell.where === row && cell.fault === column);
    return found ? { passed: "ok", failed: "FAIL", skipped: "skip" }[found.verdict.kind] : "·";
  };
  const lines = columns.length > 0 ? [line("point", columns)] : [];
  for (const row of rows)
    lines.push(
      line(
        row,
        columns.map((column) => mark(row, column)),
      ),
    );
  const others = results.filter(({ cell }) => !isPointwise(cell.fault));
  if (others.length > 0 && lines.length > 0) lines.push("");
  for (const { cell, verdict } of others) {
    lines.push(
      `${verdict.kind === "passed" ? "ok  " : verdict.kind === "failed" ? "FAIL" : "skip"}  ${cell.fault}: ${cell.where}`,
    );
  }
  for (const { cell, verdict } of results) {
    if (verdict.kind === "passed") continue;
    lines.push("", `${verdict.kind}: ${cell.fault} at ${cell.where}: ${verdict.why}`);
    lines.push(`again: npm run crash-matrix -- --only ${cell.fault} --at '${cell.where}'`);
  }
  return lines.join("\n");
}

function isPointwise(fault: FaultKind): boolean {
  return faultKinds.indexOf(fault) < faultKinds.indexOf("flipped-bit");
}
