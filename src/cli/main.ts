/** Entry of the `lockstep` command: finds the command, parses its words, and turns errors into one sentence and a code. */
import "./quiet-grpc.ts";
import { readFileSync } from "node:fs";
import { exitCodes, LockstepError, messageOf } from "../core/errors.ts";
import { check } from "./check.ts";
import { type Command, helpOf, parseCommand } from "./command.ts";
import { coordinator } from "./coordinator.ts";
import { doctor } from "./doctor.ts";
import { evaluate } from "./evaluate.ts";
import { launch } from "./launch.ts";
import { ledger } from "./ledger.ts";
import { setup } from "./setup.ts";
import { status } from "./status.ts";
import { verifyExact } from "./verify-exact.ts";
import { worker } from "./worker.ts";

const commands: readonly Command[] = [
  launch,
  status,
  check,
  evaluate,
  ledger,
  verifyExact,
  coordinator,
  worker,
  setup,
  doctor,
];

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  if (name === "--version") {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    process.stdout.write(`lockstep ${version}\n`);
    return 0;
  }
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(overview());
    return name === undefined ? exitCodes.usage : 0;
  }
  const command = commands.find((candidate) => candidate.name === name);
  if (!command) {
    const near = commands.find((candidate) => candidate.name.startsWith(name.slice(0, 2)));
    throw new LockstepError("usage", `There is no command "${name}".`, {
      hint: near ? `Did you mean \`lockstep ${near.name}\`?` : "See `lockstep --help`.",
    });
  }
  const args = parseCommand(command, rest);
  if (args.flag("help")) {
    process.stdout.write(helpOf(command));
    return 0;
  }
  return command.run(args);
}

function overview(): string {
  const rows = commands.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`);
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
  process.stderr.write(`lockstep: ${known ? known.message : error instanceof Error ? error.stack : String(error)}\n`);
  if (known?.hint) process.stderr.write(`  ${known.hint}\n`);
  process.exitCode = known?.exitCode ?? exitCodes.internal;
}
if (process.channel) process.channel.unref();
