/** `lockstep plot`: a run's curve as a picture. */
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { writePicture } from "../adapters/picture/write-picture.ts";
import { lossCurve } from "../core/curve.ts";
import { LockstepError } from "../core/errors.ts";
import type { Page } from "../core/curve-parts.ts";
import type { ScaleKind } from "../core/curve-scale.ts";
import type { Arguments, Command } from "./command.ts";
import { historyAsked, runWords, whichRun } from "./find-run.ts";

export const picture = {
  out: { value: "FILE", help: "where the picture goes: FILE.svg or FILE.png; one that is there is replaced" },
  dark: { value: null, help: "on a dark page (default: a light one)" },
  scale: {
    value: "SCALE",
    help: "linear, log (where all values are above zero), or auto: log where they lie far apart (default: auto)",
  },
};

export const plot: Command = {
  name: "plot",
  summary: "Draw a run's curve: training and validation over epochs, with the best one marked.",
  argument: {
    name: "[JOB]",
    help: `${runWords} (default: the job that is running, or the only one in runs/)`,
    most: 1,
  },
  options: { ...picture, ...whichRun },
  details: `Example:
  lockstep plot digits --out curve.png --dark

A PNG is twice as large as the picture says, 1600 × 900, so that it is sharp on every screen.`,
  run: runPlot,
};

async function runPlot(args: Arguments): Promise<number> {
  const out = await pictureFile(args);
  const scale = scaleOf(args);
  if (out === null) {
    throw new LockstepError("usage", "--out is missing: where does the picture go?", {
      hint: "Give it as --out curve.svg or --out curve.png.",
    });
  }
  const { job, run, history, policy } = await historyAsked(args);
  if (history.length === 0) {
    const which = run === null ? `"${job}"` : `Run ${run} of "${job}"`;
    throw new LockstepError("usage", `${which} has no committed epoch yet: there is nothing to draw.`);
  }
  await writePicture(out, lossCurve(history, policy, { page: pageOf(args), scale, of: { job, run } }));
  process.stdout.write(`${out}\n`);
  return 0;
}

/** What --out names; null where it is not given. Looked at before anything is read, which may start an etcd. */
export async function pictureFile(args: Arguments): Promise<string | null> {
  const out = args.text("out");
  if (out === undefined) return null;
  if (!/\.(svg|png)$/i.test(out)) {
    throw new LockstepError("usage", `--out is ${JSON.stringify(out)}; a file that ends in .svg or .png was expected.`);
  }
  const folder = dirname(resolve(out));
  const found = await stat(folder).catch(() => null);
  if (found?.isDirectory()) return out;
  const what = found ? "is no folder" : "is not there";
  throw new LockstepError("usage", `--out is ${JSON.stringify(out)}, and ${folder} ${what}.`, {
    hint: "Make that folder, or name a file in one that is there.",
  });
}

/** What --scale asks for. */
export function scaleOf(args: Arguments): ScaleKind {
  const word = args.text("scale") ?? "auto";
  const kinds: Readonly<Record<string, ScaleKind>> = { auto: "auto", linear: "linear", log: "logarithmic" };
  const kind = Object.hasOwn(kinds, word) ? kinds[word] : undefined;
  if (kind) return kind;
  throw new LockstepError("usage", `--scale is ${JSON.stringify(word)}; linear, log or auto was expected.`);
}

export function pageOf(args: Arguments): Page {
  return args.flag("dark") ? "dark" : "light";
}
