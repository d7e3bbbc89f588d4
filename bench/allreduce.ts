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
import type { WireFormat } from "../src/core/wire.ts";
import { certificatesFor, type Group, glooGroup, lockstepGroup } from "./allreduce/group.ts";
import { whyNoPeers } from "./python.ts";
import { load, machine, publish, type Result, resultsOf, type Skipped, versions } from "./results.ts";
import { commonOptions, wholeNumber, wholeNumbers } from "./words.ts";

const kib = 2 ** 10;
const mib = 2 ** 20;
const gib = 2 ** 30;

interface Work {
  readonly work: string;
  /** Of the gradients in memory, which are float32. */
  readonly sizeBytes: number;
  /** In what form they travel; Gloo's as they are. */
  readonly wire: WireFormat;
  /** All-reduces in one sample. */
  readonly repeats: number;
  readonly unit: "ms" | "GiB/s";
  /** How many times better than whom it is measured beside. */
  readonly goal: number;
  /** Over mutual TLS, beside the same in plain text; Gloo knows none. */
  readonly tls?: true;
}

const works: readonly Work[] = [
  { work: "allreduce-4KiB", sizeBytes: 4 * kib, wire: "float32", repeats: 300, unit: "ms", goal: 1 / 1.5 },
  { work: "allreduce-1MiB", sizeBytes: mib, wire: "float32", repeats: 50, unit: "GiB/s", goal: 1 },
  { work: "allreduce-25MiB", sizeBytes: 25 * mib, wire: "float32", repeats: 5, unit: "GiB/s", goal: 1.2 },
  {
    work: "allreduce-25MiB-tls",
    sizeBytes: 25 * mib,
    wire: "float32",
    repeats: 5,
    unit: "GiB/s",
    goal: 0.5,
    tls: true,
  },
  { work: "allreduce-25MiB-bfloat16", sizeBytes: 25 * mib, wire: "bfloat16", repeats: 5, unit: "GiB/s", goal: 1.8 },
  { work: "allreduce-100MiB", sizeBytes: 100 * mib, wire: "float32", repeats: 2, unit: "GiB/s", goal: 1.2 },
  { work: "allreduce-100MiB-bfloat16", sizeBytes: 100 * mib, wire: "bfloat16", repeats: 2, unit: "GiB/s", goal: 1.8 },
];

/** Until memory is in use and the code is compiled. */
const warmUps = 2;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      samples: { type: "string", default: "9" },
      worlds: { type: "string", default: "2,3,4" },
      ...commonOptions,
    },
  });
  const samples = wholeNumber("samples", values.samples);
  const worlds = wholeNumbers("worlds", values.worlds, 2);
  const loadBefore = load();
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const results: Result[] = [];
  const why = whyNoPeers(values["no-peers"]);
  const skipped: Skipped[] = why === null ? [] : [{ peer: "gloo", why }];
  try {
    for (const world of worlds) {
      process.stderr.write(`W = ${world}: ${samples} samples of each size\n`);
      const groups: Group[] = [];
      const keep = <T extends Group>(group: T): T => {
        groups.push(group);
        return group;
      };
      try {
        const plain = keep(lockstepGroup(world, null));
        const secure = keep(lockstepGroup(world, await certificatesFor(world, folder)));
        const gloo = why === null ? keep(await glooGroup(world, folder)) : null;
        for (const work of works) {
          const beside: Beside | null = work.tls
            ? { peer: "plain text", group: plain }
            : gloo && { peer: "gloo", group: gloo };
          results.push(...(await measure(work, world, samples, work.tls ? secure : plain, beside)));
        }
      } finally {
        await Promise.all(groups.map((group) => group.close()));
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const report = { benchmark: "allreduce", machine: machine(loadBefore), versions: versions(), results, skipped };
  const remark =
    "GiB/s: what each worker sends a second, 2 (W - 1) / W of the gradients' float32 over the time, in whatever form they travel";
  await publish(report, [remark], values.json);
}

interface Beside {
  readonly peer: string;
  readonly group: Group;
}

/** In turns, so that a noisy minute hits both. */
async function measure(
  work: Work,
  world: number,
  samples: number,
  own: Group,
  beside: Beside | null,
): Promise<Result[]> {
  const { sizeBytes, wire, repeats, unit } = work;
  await own.begin(sizeBytes, wire);
  await beside?.group.begin(sizeBytes, "float32");
  const busBytes = ((2 * (world - 1)) / world) * sizeBytes;
  const figure = (milliseconds: number) => (unit === "ms" ? milliseconds : busBytes / gib / (milliseconds / 1000));
  const ownSamples: number[] = [];
  const peerSamples: number[] = [];
  for (let n = -warmUps; n < samples; n++) {
    const ownMs = await own.reduce(repeats);
    const peerMs = await beside?.group.reduce(repeats);
    if (n < 0) continue;
    ownSamples.push(figure(ownMs));
    if (peerMs !== undefined) peerSamples.push(figure(peerMs));
  }
  const goal = Number(work.goal.toFixed(2));
  const peers = beside ? [{ peer: beside.peer, samples: peerSamples, goal }] : [];
  return resultsOf({ work: work.work, world, unit, samples: ownSamples }, peers);
}
