/** `npm run bench -- NAME …` runs one benchmark; without a name it says which there are. */
import { exitCodes, LockstepError, messageOf } from "../src/core/errors.ts";
import { nearestName } from "../src/core/nearest-name.ts";

interface Benchmark {
  readonly name: string;
  readonly summary: string;
  /** Loaded only when it is run: some bring an engine along. */
  readonly load: () => Promise<{ run(words: string[]): Promise<void> }>;
}

const benchmarks: readonly Benchmark[] = [
  {
    name: "recovery",
    summary:
      "from a kill to the next step, beside torchrun and torchft [--runs N] [--json FILE] [--no-peers]; 20 runs take half an hour, a third of it five runs of each peer; what is measured is shown, and written to FILE, at once",
    load: () => import("./recovery.ts"),
  },
  {
    name: "exactness",
    summary: "what exactness costs a step when workers are missing [--json FILE]",
    load: () => import("./exactness.ts"),
  },
  {
    name: "checkpoints",
    summary:
      "pause, writing and loading of 300 MB, beside a memory copy, dd and torch [--saves N] [--rounds N] [--workers N] [--directory DIR] [--json FILE] [--no-peers]",
    load: () => import("./checkpoints.ts"),
  },
  {
    name: "allreduce",
    summary: "sums of 4 KiB to 100 MiB beside Gloo [--samples N] [--worlds 2,3,4] [--json FILE] [--no-peers]",
    load: () => import("./allreduce.ts"),
  },
  {
    name: "step",
    summary:
      "training steps beside torch DDP, TensorFlow, Keras and model.fit, the price of the machinery, two workers beside one [--rounds N] [--worlds 1,2,4] [--models NAME,…] [--json FILE] [--no-peers]; a round takes four minutes",
    load: () => import("./step.ts"),
  },
  {
    name: "link",
    summary:
      "training steps of two workers with a network of a given rate between them, beside torch DDP [--rate 1gbit] [--rounds N] [--models NAME,…] [--json FILE] [--no-peers]; a round takes a minute, and Linux and root are wanted",
    load: () => import("./link.ts"),
  },
  {
    name: "memory",
    summary:
      "what 100,000 steps leave behind in a worker: memory, tensors, handles, descriptors [--steps N] [--worlds 1,2] [--json FILE]",
    load: () => import("./memory.ts"),
  },
  {
    name: "epochs",
    summary:
      "processor time that an epoch takes of each process, late in a run beside early in it [--epochs N] [--json FILE]; 1,500 epochs take three minutes",
    load: () => import("./epochs.ts"),
  },
  {
    name: "views",
    summary:
      "samples a second of clusters with dashboard pages open, metrics scraped and TensorBoard's files written, beside without [--pairs N] [--views pages,metrics,tensorboard] [--json FILE]; a pair takes 14 seconds, 60 are usual",
    load: () => import("./views.ts"),
  },
];

const help = [
  "Usage: npm run bench -- NAME [options]",
  "",
  ...benchmarks.map((known) => `  ${known.name.padEnd(11)} ${known.summary}`),
  "",
].join("\n");

const [name, ...words] = process.argv.slice(2);
const benchmark = benchmarks.find((known) => known.name === name);
const isHelp = (word: string | undefined) => word === "--help" || word === "-h";
if (name === undefined || isHelp(name) || (benchmark && words.some(isHelp))) process.stdout.write(help);
else if (benchmark) {
  try {
    await (await benchmark.load()).run(words);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = codeOf(error);
  }
} else {
  process.stderr.write(`There is no benchmark ${JSON.stringify(name)}; there are ${names()}.\n`);
  const near = nearestName(
    name,
    benchmarks.map((known) => known.name),
  );
  if (near) process.stderr.write(`  Did you mean ${near}?\n`);
  process.exitCode = exitCodes.usage;
}

function names(): string {
  return benchmarks.map((known) => known.name).join(", ");
}

/** As the `lockstep` command's; an option that nobody knows is an error of Node's own. */
function codeOf(error: unknown): number {
  if (error instanceof LockstepError) return error.exitCode;
  const code = (error as { code?: unknown } | null)?.code;
  return String(code).startsWith("ERR_PARSE_ARGS_") ? exitCodes.usage : exitCodes.internal;
}
