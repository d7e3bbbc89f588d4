/**
 * `npm run crash-matrix`: every point of writing a checkpoint × everything that can go wrong there. Prints the table with
 * a verdict for each cell; the last line is one line of JSON. `--fast` runs a part of it, `--only KIND,…` some faults,
 * `--at POINT` what is in one place, and `--until-failure` no cell after the first that fails.
 */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { contentCells } from "./content-cells.ts";
import { Morgue } from "./kill-cells.ts";
import { leaderCells, readerCells } from "./leader-cells.ts";
import { lossCells } from "./loss-cells.ts";
import { type Cell, type FaultKind, faultKinds, runCells, summaryOf, tableOf } from "./matrix.ts";
import type { Point } from "./process.ts";
import { recordPoints } from "./stage.ts";
import { writeCells } from "./write-cells.ts";

/** A real process takes half a second, most of it waiting. */
const killsAtOnce = 3;
const fastKills = /^(write .*manifest|syncDirectory STAGING|rename|syncDirectory ROOT|.* publish|removeTree)/;

const usage = `npm run crash-matrix -- [--fast] [--only KIND,…] [--at POINT] [--until-failure]

  --fast           a part of it, in two minutes: what \`npm test\` runs
  --only KIND,…    these faults alone: ${faultKinds.join(", ")}
  --at POINT       what is in one place, as the table's second column names it
  --until-failure  no cell after the first that fails`;
const { values: options } = wordsOf({
  options: {
    fast: { type: "boolean", default: false },
    only: { type: "string" },
    at: { type: "string" },
    "until-failure": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function wordsOf<T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n  ${usage}\n`);
    return process.exit(2);
  }
}

if (options.help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}
const kinds = options.only === undefined ? faultKinds : options.only.split(",").map(kindOf);
const all = await recordPoints();
const points = options.fast ? all.filter(isTelling) : all;
const seeds = Array.from({ length: options.fast ? 4 : 24 }, (_, i) => i + 1);
const wanted = (cells: readonly Cell[]) =>
  cells.filter(({ fault, where }) => kinds.includes(fault) && where === (options.at ?? where));

const morgue = new Morgue();
const killPoints = options.fast ? points.filter(({ name }) => fastKills.test(name)) : points;
const untilFailure = options["until-failure"];
const kills = await runCells(wanted(morgue.cells(killPoints, all)), { atOnce: killsAtOnce, untilFailure });
await morgue.close();
const others = [
  ...writeCells(points, all, seeds),
  ...leaderCells(points, all),
  ...lossCells(points),
  ...readerCells(),
  ...contentCells(),
];
const results = [...kills, ...(await runCells(wanted(others), { atOnce: 1, untilFailure }))];

const summary = summaryOf(results);
const names = all.map(({ name }) => name);
process.stdout.write(`${tableOf(results, names)}\n${JSON.stringify(summary)}\n`);
const silent = kinds.filter((kind) => !summary.faults[kind]);
if (summary.failed === 0 && silent.length > 0)
  process.stderr.write(`These faults never happened: ${silent.join(", ")}.\n`);
process.exitCode = summary.failed > 0 || silent.length > 0 ? 1 : 0;

function kindOf(text: string): FaultKind {
  const kind = faultKinds.find((known) => known === text);
  if (kind !== undefined) return kind;
  process.stderr.write(`--only names "${text}"; one or more of ${faultKinds.join(", ")} was expected.\n`);
  return process.exit(2);
}

/** One file of several that are written alike, and one deletion of several. */
function isTelling({ name }: Point): boolean {
  return name === "syncDirectory ROOT #2" || !/optimizer|state\.json| #\d|(open|sizeBytes|close) NEW/.test(name);
}
