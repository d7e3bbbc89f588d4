/** Entry of the `lockstep` command: finds the command, parses its words, and turns errors into one sentence and a code. */
import "./quiet-grpc.ts";
import { packageVersion } from "../adapters/system/package-root.ts";
import { withSourcePlaces } from "../adapters/system/source-places.ts";
import { exitCodes, LockstepError, messageOf } from "../core/errors.ts";
import { type Command, type CommandGroup, commandOf, helpOf, helpOfGroup, parseCommand } from "./command.ts";

/** By name; loaded when it is typed, since a process that is started again should not wait for what it does not use. */
const commands: Readonly<Record<string, () => Promise<Command | CommandGroup>>> = {
  init: async () => (await import("./init.ts")).init,
  launch: async () => (await import("./launch.ts")).launch,
  status: async () => (await import("./status.ts")).status,
  history: async () => (await import("./history.ts")).history,
  plot: async () => (await import("./plot.ts")).plot,
  compare: async () => (await import("./compare.ts")).compare,
  dashboard: async () => (await import("./dashboard.ts")).dashboard,
  scale: async () => (await import("./scale.ts")).scale,
  drain: async () => (await import("./drain.ts")).drain,
  restart: async () => (await import("./restart.ts")).restart,
  stop: async () => (await import("./stop.ts")).stop,
  resume: async () => (await import("./resume.ts")).resume,
  logs: async () => (await import("./logs.ts")).logs,
  data: async () => (await import("./data.ts")).data,
  check: async () => (await import("./check.ts")).check,
  evaluate: async () => (await import("./evaluate.ts")).evaluate,
  predict: async () => (await import("./predict.ts")).predict,
  checkpoints: async () => (await import("./checkpoints.ts")).checkpoints,
  ledger: async () => (await import("./ledger.ts")).ledger,
  "verify-exact": async () => (await import("./verify-exact.ts")).verifyExact,
  gameday: async () => (await import("./gameday.ts")).gameday,
  coordinator: async () => (await import("./coordinator.ts")).coordinator,
  worker: async () => (await import("./worker.ts")).worker,
  certs: async () => (await import("./certs.ts")).certs,
  "etcd-roles": async () => (await import("./etcd-roles.ts")).etcdRoles,
  setup: async () => (await import("./setup.ts")).setup,
  doctor: async () => (await import("./doctor.ts")).doctor,
};

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  if (name === "--version") {
    process.stdout.write(`lockstep ${packageVersion()}\n`);
    return 0;
  }
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(await overview());
    return name === undefined ? exitCodes.usage : 0;
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!load) {
    const near = Object.keys(commands).find((candidate) => candidate.startsWith(name.slice(0, 2)));
    throw new LockstepError("usage", `There is no command "${name}".`, {
      hint: near ? `Did you mean \`lockstep ${near}\`?` : "See `lockstep --help`.",
    });
  }
  const found = await load();
  if ("commands" in found) return runOf(found, rest);
  return runCommand(found, rest);
}

async function runOf(group: CommandGroup, words: readonly string[]): Promise<number> {
  const [word, ...rest] = words;
  if (word === undefined || word === "--help" || word === "-h" || word === "help") {
    process.stdout.write(await helpOfGroup(group));
    return word === undefined ? exitCodes.usage : 0;
  }
  return runCommand(await commandOf(group, word), rest);
}

async function runCommand(command: Command, words: readonly string[]): Promise<number> {
  const args = parseCommand(command, words);
  if (args.flag("help")) {
    process.stdout.write(helpOf(command));
    return 0;
  }
  return command.run(args);
}

async function overview(): Promise<string> {
  const all = await Promise.all(Object.values(commands).map((load) => load()));
  const rows = all.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`);
  const codes = Object.entries(exitCodes).map(([code, value]) => `  ${String(value).padStart(3)}  ${code}`);
  return [
    "lockstep: fault-tolerant distributed training for TensorFlow.js",
    "",
    "Usage: lockstep COMMAND [options]",
    "",
    ...rows,
    "",
    "`lockstep COMMAND --help` tells more. Exit codes:",
    "    0  all went well",
    ...codes,
    "",
  ].join("\n");
}

/** Where a pipe's reader has gone, nobody is left to tell. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.internal);
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof LockstepError ? error : null;
  process.send?.({
    event: "error",
    code: known?.code ?? "internal",
    message: messageOf(error),
    ...(known?.hint ? { hint: known.hint } : {}),
  });
  const text = known ? known.message : error instanceof Error ? (error.stack ?? messageOf(error)) : String(error);
  process.stderr.write(`lockstep: ${withSourcePlaces(text)}\n`);
  if (known?.hint) process.stderr.write(`  ${known.hint}\n`);
  process.exitCode = known?.exitCode ?? exitCodes.internal;
}
if (process.channel) process.channel.unref();
