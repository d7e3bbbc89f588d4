/**
 * `npm run simulate`: many seeds on all cores. A failing seed is printed with the invariant it breaks, its schedule made
 * short, the end of its trace and the command that repeats it. The last line is one line of JSON.
 */
import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { allKinds, describeFault, type FaultKind, supportedFaults } from "./schedule.ts";
import type { Standing } from "./invariants.ts";
import { shrink } from "./shrink.ts";
import { scenarioOf, simulate } from "./simulation.ts";

/** What a child process answers for every seed. */
export interface SeedResult {
  readonly seed: number;
  readonly invariant: string | null;
  readonly why: string;
  readonly faults: Readonly<Record<string, number>>;
  readonly standings: Readonly<Record<string, number>>;
}

/** A seed that takes longer than this is stuck in a circle that no event counts. */
const stuckMs = 60_000;
const traceTail = 40;
/** So many seeds inject every kind of fault. */
const enoughForAllKinds = 3000;
const say = (text: string) => process.stdout.write(`${text}\n`);

const usage =
  "npm run simulate -- [--seeds N] [--from S] [--until-failure] [--processes N] | --seed S [--trace] | --scaling";
const { values: options } = parsed({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    "until-failure": { type: "boolean", default: false },
    processes: { type: "string", default: String(availableParallelism()) },
    scaling: { type: "boolean", default: false },
  },
});

if (process.send) await serveSeeds();
else if (options.scaling) await (await import("./scaling.ts")).printScaling(say);
else if (options.seed !== undefined) process.exitCode = await explain(whole("seed", 0), options.trace);
else process.exitCode = await runSeeds(options.from === undefined ? 1 : whole("from", 0), whole("seeds", 1));

function parsed<T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error));
  }
}

function whole(name: "seed" | "from" | "seeds" | "processes", least: number): number {
  const text = options[name] ?? "";
  if (!/^\d+$/.test(text) || Number(text) < least) {
    wrong(`--${name} is ${JSON.stringify(text)}; a whole number of at least ${least} was expected.`);
  }
  return Number(text);
}

function wrong(why: string): never {
  process.stderr.write(`${why}\nUsage: ${usage}\n`);
  process.exit(2);
}

/** In a child process: seeds come as messages, results go back. */
async function serveSeeds(): Promise<void> {
  process.on("message", async (seed: number) => {
    const { violation, faults, standings } = await simulate(scenarioOf(seed));
    const { invariant = null, why = "" } = violation ?? {};
    const result: SeedResult = { seed, faults, standings, invariant, why };
    process.send?.(result);
  });
}

async function runSeeds(from: number, count: number): Promise<number> {
  const faults: Record<string, number> = Object.fromEntries(
    allKinds.filter((kind) => supportedFaults[kind as FaultKind]).map((kind) => [kind, 0]),
  );
  const standings: Record<Standing, number> = {
    paused: 0,
    back: 0,
    spared: 0,
    behind: 0,
    saved: 0,
    era: 0,
    unheard: 0,
    "other S": 0,
    brought: 0,
    named: 0,
  };
  const failed: SeedResult[] = [];
  let next = from;
  let run = 0;
  const take = (): number | null => {
    if (next >= from + count || (options["until-failure"] && failed.length > 0)) return null;
    return next++;
  };
  const note = (result: SeedResult) => {
    run++;
    addTo(faults, result.faults);
    addTo(standings, result.standings);
    if (result.invariant !== null) failed.push(result);
  };
  const workers = Math.max(1, Math.min(whole("processes", 1), count));
  await Promise.all(Array.from({ length: workers }, () => work(take, note)));
  failed.sort((a, b) => a.seed - b.seed);
  for (const { seed } of failed.slice(0, 3)) await explain(seed, false);
  for (const { seed, invariant, why } of failed.slice(3)) say(`seed ${seed}: ${invariant}: ${why}`);
  const last = JSON.stringify({ run, failed: failed.length, skipped: count - run, faults, standings });
  const missing = Object.keys(faults).filter((kind) => faults[kind] === 0);
  if (missing.length > 0 && run >= enoughForAllKinds) say(`no seed injected ${missing.join(", ")}`);
  say(last);
  return failed.length > 0 || (missing.length > 0 && run >= enoughForAllKinds) ? 1 : 0;
}

function addTo(sums: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
}

/** Gives one child process seed after seed. */
function work(take: () => number | null, note: (result: SeedResult) => void): Promise<void> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(import.meta.url), [], { execArgv: process.execArgv });
    let seed: number | null = null;
    let timer: NodeJS.Timeout | undefined;
    const give = () => {
      clearTimeout(timer);
      seed = take();
      if (seed === null) {
        child.kill();
        return;
      }
      timer = setTimeout(() => child.kill("SIGKILL"), stuckMs);
      child.send(seed);
    };
    child.on("message", (result: SeedResult) => {
      note(result);
      give();
    });
    child.on("exit", () => {
      clearTimeout(timer);
      if (seed === null) return resolve();
      const why = `the simulation ended, or took longer than ${stuckMs} ms`;
      note({ seed, invariant: "P6", why, faults: {}, standings: {} });
      work(take, note).then(resolve, resolve);
    });
    give();
  });
}

/** One seed in words; its exit code. */
async function explain(seed: number, withTrace: boolean): Promise<number> {
  const whole = scenarioOf(seed);
  const first = await simulate(whole);
  if (!first.violation) {
    if (withTrace) say(first.trace.text().join("\n"));
    say(`seed ${seed}: all is well after ${first.events} events, ${Math.round(first.virtualMs)} ms of virtual time`);
    return 0;
  }
  const { scenario, outcome } = await shrink(whole, first);
  const violation = outcome.violation ?? first.violation;
  say(`seed ${seed} breaks ${violation.invariant} at ${violation.atMs.toFixed(2)} ms: ${violation.why}`);
  const { job, ...shape } = scenario.shape;
  say(`  cluster: ${JSON.stringify(shape)}`);
  say(`  job: ${JSON.stringify(job)}`);
  say(
    `  schedule, ${scenario.schedule.length} of ${whole.schedule.length} faults; they end at ${scenario.horizonMs} ms:`,
  );
  for (const fault of scenario.schedule) say(`    ${describeFault(fault)}`);
  say(withTrace ? "  trace:" : `  the last ${traceTail} lines of the trace:`);
  for (const line of outcome.trace.text(withTrace ? undefined : traceTail)) say(`  ${line}`);
  say(`  again: npm run simulate -- --seed ${seed} --trace\n`);
  return 1;
}
