/**
 * The all-reduce alone: W processes over loopback sum rows of float32 in the order of the tree, through the exchange
 * thread that a worker has, beside PyTorch's Gloo. Both are there at once and take turns, sample by sample.
 *
 *     npm run bench -- allreduce [--samples N] [--worlds 2,3,4] [--json FILE] [--no-peers]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError } from "../src/core/errors.ts";
import { type Group, glooGroup, lockstepGroup } from "./allreduce/group.ts";
import { peerVersions } from "./recovery/peers.ts";
import {
  load,
  lockstepVersion,
  machine,
  type Result,
  resultsOf,
  resultTable,
  type Skipped,
  writeReport,
} from "./results.ts";

const kib = 2 ** 10;
const mib = 2 ** 20;
const gib = 2 ** 30;

interface Work {
  readonly work: string;
  readonly sizeBytes: number;
  /** All-reduces in one sample. */
  readonly repeats: number;
  readonly unit: "ms" | "GiB/s";
  /** How many times better than Gloo. */
  readonly goal: number;
}

const works: readonly Work[] = [
  { work: "allreduce-4KiB", sizeBytes: 4 * kib, repeats: 300, unit: "ms", goal: 1 / 1.5 },
  { work: "allreduce-1MiB", sizeBytes: mib, repeats: 50, unit: "GiB/s", goal: 1 },
  { work: "allreduce-25MiB", sizeBytes: 25 * mib, repeats: 5, unit: "GiB/s", goal: 1.2 },
  { work: "allreduce-100MiB", sizeBytes: 100 * mib, repeats: 2, unit: "GiB/s", goal: 1.2 },
];

/** Until memory is in use and the code is compiled. */
const warmUps = 2;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      samples: { type: "string" },
      worlds: { type: "string" },
      json: { type: "string" },
      "no-peers": { type: "boolean" },
    },
  });
  const samples = wholeNumber("samples", values.samples ?? "9", 1);
  const worlds = (values.worlds ?? "2,3,4").split(",").map((text) => wholeNumber("worlds", text, 2));
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const results: Result[] = [];
  const skipped: Skipped[] = [];
  try {
    for (const world of worlds) {
      process.stderr.write(`W = ${world}: ${samples} samples of each size\n`);
      const own = lockstepGroup(world);
      try {
        const gloo = values["no-peers"] ? null : await glooGroup(world, folder);
        try {
          for (const work of works) results.push(...(await measure(work, world, samples, own, gloo)));
        } finally {
          await gloo?.close();
        }
        if (!gloo && skipped.length === 0) skipped.push({ peer: "gloo", why: whyNot(values["no-peers"]) });
      } finally {
        await own.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const report = {
    benchmark: "allreduce",
    machine: machine(loadBefore),
    versions: { lockstep: lockstepVersion(), node: process.versions.node, ...peerVersions() },
    results,
    skipped,
  };
  const [before, after] = report.machine.load;
  process.stdout.write(
    [
      resultTable(results),
      "",
      `${report.machine.cores} cores, ${report.machine.processor}; load ${before.toFixed(1)} before, ${after.toFixed(1)} after`,
      "GiB/s: what each worker sends a second, 2 (W - 1) / W of the bytes over the time",
      ...skipped.map(({ peer, why }) => `skipped: ${peer}: ${why}`),
      "",
    ].join("\n"),
  );
  if (values.json !== undefined) await writeReport(values.json, report);
}

/** In turns, so that a noisy minute hits both. */
async function measure(work: Work, world: number, samples: number, own: Group, gloo: Group | null): Promise<Result[]> {
  const { sizeBytes, repeats, unit } = work;
  await own.begin(sizeBytes);
  await gloo?.begin(sizeBytes);
  const busBytes = ((2 * (world - 1)) / world) * sizeBytes;
  const figure = (milliseconds: number) => (unit === "ms" ? milliseconds : busBytes / gib / (milliseconds / 1000));
  const ownSamples: number[] = [];
  const glooSamples: number[] = [];
  for (let n = -warmUps; n < samples; n++) {
    const ownMs = await own.reduce(repeats);
    const glooMs = await gloo?.reduce(repeats);
    if (n < 0) continue;
    ownSamples.push(figure(ownMs));
    if (glooMs !== undefined) glooSamples.push(figure(glooMs));
  }
  const goal = Number(work.goal.toFixed(2));
  const beside = gloo ? [{ peer: "gloo", samples: glooSamples, goal }] : [];
  return resultsOf({ work: work.work, world, unit, samples: ownSamples }, beside);
}

function whyNot(noPeers: boolean | undefined): string {
  return noPeers ? "--no-peers" : "its Python environment is not there: bench/peers/setup.sh makes it";
}

function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new LockstepError("usage", `--${name} is ${JSON.stringify(text)}; a whole number from ${least} was expected.`);
}
