/** `lockstep compare`: runs side by side, and whether they are equal. */
import { basename } from "node:path";
import { writePicture } from "../adapters/picture/write-picture.ts";
import { type ComparedRun, comparisonJson, comparisonText, compareRuns } from "../core/comparison.ts";
import { comparisonCurve, mostRunsInPicture } from "../core/comparison-curve.ts";
import { LockstepError } from "../core/errors.ts";
import type { ReadRun } from "../runtime/read-history.ts";
import type { Arguments, Command } from "./command.ts";
import { shared } from "./common.ts";
import { findRun, readWhole, runWords } from "./find-run.ts";
import { pageOf, picture, pictureFile, scaleOf } from "./plot.ts";

export const compare: Command = {
  name: "compare",
  summary: "Compare runs: results, up to which epoch they are equal bit for bit, and what differs in them.",
  argument: { name: "A B…", help: `the runs, two or more; each is ${runWords}`, most: Number.POSITIVE_INFINITY },
  options: {
    ...picture,
    out: { ...picture.out, help: "draw all of them into FILE.svg or FILE.png" },
    json: shared.json,
  },
  details: `Examples:
  lockstep compare digits digits-tuned --out both.svg
  lockstep compare runs/digits/run-1 runs/digits/run-2

Weights are compared by the digests that etcd has of every epoch's end; where a job's folder has no etcd, by those of the
checkpoints that are kept. The exit code is 0 whether or not runs are equal: \`lockstep verify-exact\` is the test.`,
  run: runCompare,
};

async function runCompare(args: Arguments): Promise<number> {
  const { words } = args;
  const out = await pictureFile(args);
  const scale = scaleOf(args);
  if (words.length < 2) {
    throw new LockstepError(
      "usage",
      `${words.length === 0 ? "No run was" : "One run was"} given; two or more were expected.`,
      {
        hint: "As in `lockstep compare runs/digits/run-1 runs/digits/run-2`.",
      },
    );
  }
  if (out !== null && words.length > mostRunsInPicture) {
    throw new LockstepError(
      "usage",
      `${words.length} runs were given, and a picture has room for ${mostRunsInPicture}.`,
      {
        hint: "Give fewer, or leave out --out.",
      },
    );
  }
  const read: ReadRun[] = [];
  // One after the other: each may start an etcd.
  for (const word of words) read.push(await readWhole(await findRun(word, null)));
  const runs = named(read, words);
  if (out !== null) {
    if (runs.every(({ history }) => history.length === 0)) {
      throw new LockstepError("usage", "None of these runs has a committed epoch yet: there is nothing to draw.");
    }
    await writePicture(out, comparisonCurve(runs, pageOf(args), scale));
  }
  const found = compareRuns(runs);
  const text = args.flag("json") ? JSON.stringify(comparisonJson(found)) : comparisonText(found);
  process.stdout.write(`${text}\n`);
  if (out !== null && !args.flag("json")) process.stdout.write(`\n${out}\n`);
  return 0;
}

/** By what tells them apart: job, job and run, or else the word that was typed. */
function named(runs: readonly ReadRun[], words: readonly string[]): ComparedRun[] {
  const ways: ((run: ReadRun, index: number) => string)[] = [
    ({ job }) => job,
    ({ job, run }) => `${job} ${run}`,
    (_, index) => basename(words[index]!),
    (_, index) => words[index]!,
    (_, index) => `${index + 1}: ${words[index]}`,
  ];
  const isTelling = (way: (typeof ways)[number]) => new Set(runs.map(way)).size === runs.length;
  const way = ways.find(isTelling)!; // the last one numbers them
  return runs.map((run, index) => ({ ...run, name: way(run, index) }));
}
