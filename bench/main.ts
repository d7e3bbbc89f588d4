/** `npm run bench -- NAME …` runs one benchmark; without a name it says which there are. */
import { messageOf } from "../src/core/errors.ts";

interface Benchmark {
  readonly name: string;
  readonly summary: string;
  /** Loaded only when it is run: some bring an engine along. */
  readonly load: () => Promise<{ run(words: string[]): Promise<void> }>;
}

const benchmarks: readonly Benchmark[] = [
  {
    name: "recovery",
    summary: "from a kill to the next step, beside torchrun and torchft [--runs N] [--json FILE] [--no-peers]",
    load: () => import("./recovery.ts"),
  },
  {
    name: "exactness",
    summary: "what exactness costs a step when workers are missing",
    load: () => import("./exactness.ts"),
  },
];

const [name, ...words] = process.argv.slice(2);
const benchmark = benchmarks.find((known) => known.name === name);
if (benchmark) {
  try {
    await (await benchmark.load()).run(words);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  }
} else {
  const lines = benchmarks.map((known) => `  npm run bench -- ${known.name.padEnd(10)} ${known.summary}`);
  process.stdout.write(`Benchmarks:\n${lines.join("\n")}\n`);
  if (name !== undefined) {
    process.stderr.write(`There is no benchmark "${name}".\n`);
    process.exitCode = 2;
  }
}
