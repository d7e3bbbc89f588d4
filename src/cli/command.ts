/** What a command is: one table says which options it knows, and both the parser and the help are made from it. */
import { parseArgs } from "node:util";
import { LockstepError, messageOf } from "../core/errors.ts";
import { nearestName } from "../core/nearest-name.ts";

export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** The word after the command, for instance "JOB.ts"; null when there is none. */
  readonly argument: Argument | null;
  readonly options: Readonly<Record<string, Option>>;
  /** More for `--help`: what it does, an example. */
  readonly details?: string;
  /** Runs the command; resolves to the exit code. */
  run(args: Arguments): Promise<number>;
}

export interface Argument {
  readonly name: string;
  readonly help: string;
  /** How many words there may be, from none on; left out, there is exactly one. */
  readonly most?: number;
}

/** Commands of two words, as `checkpoints list`. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
  readonly details?: string;
  /** By the second word; loaded when it is typed. */
  readonly commands: Readonly<Record<string, () => Promise<Command>>>;
}

export interface Option {
  /** What stands for the value in the help, as "N"; null for a flag. */
  readonly value: string | null;
  readonly help: string;
  readonly multiple?: boolean;
  /** One letter that stands for it. */
  readonly short?: string;
}

export class Arguments {
  /** The words after the command. */
  readonly words: readonly string[];
  readonly #values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

  constructor(
    words: readonly string[],
    values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>,
  ) {
    this.words = words;
    this.#values = values;
  }

  /** The one word after the command. */
  get argument(): string {
    const [word] = this.words;
    if (word === undefined) throw new LockstepError("internal", "This command takes no argument.");
    return word;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
  }

  /** The options that were given, but these, as words that mean the same. */
  optionsBut(...left: readonly string[]): string[] {
    return Object.entries(this.#values).flatMap(([name, given]) => {
      if (left.includes(name)) return [];
      const values = Array.isArray(given) ? given : given === undefined || given === false ? [] : [given];
      return values.flatMap((value) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
    });
  }

  /** A whole number of at least `least`. */
  whole(name: string, least: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new LockstepError(
        "usage",
        `--${name} is ${JSON.stringify(text)}; a whole number of at least ${least} was expected.`,
      );
    }
    return value;
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const found = choices.find((choice) => choice === text);
    if (found === undefined) {
      throw new LockstepError(
        "usage",
        `--${name} is ${JSON.stringify(text)}; one of ${choices.join(", ")} was expected.`,
      );
    }
    return found;
  }
}

export function parseCommand(command: Command, words: readonly string[]): Arguments {
  const options = Object.fromEntries(
    Object.entries({ ...command.options, help: { value: null, help: "" } as Option }).map(([name, option]) => [
      name,
      {
        type: option.value === null ? ("boolean" as const) : ("string" as const),
        multiple: option.multiple ?? false,
        ...(option.short ? { short: option.short } : {}),
      },
    ]),
  );
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: withNegatives(command, words), options, allowPositionals: true, strict: true });
  } catch (error) {
    throw usageError(command, words, error);
  }
  const { positionals, values } = parsed;
  if (values.help) return new Arguments([], { help: true });
  const most = command.argument ? (command.argument.most ?? 1) : 0;
  if (positionals.length > most) {
    const takes = ["no argument", "one argument"][most] ?? `at most ${most} arguments`;
    throw new LockstepError(
      "usage",
      `\`lockstep ${command.name}\` takes ${takes}, but was given ${positionals.join(" ")}.`,
      helpHint(command),
    );
  }
  if (command.argument && command.argument.most === undefined && positionals.length === 0) {
    throw new LockstepError(
      "usage",
      `\`lockstep ${command.name}\` needs ${command.argument.name}: ${command.argument.help}.`,
      helpHint(command),
    );
  }
  return new Arguments(positionals, values);
}

/** The command that a group's second word means. */
export async function commandOf(group: CommandGroup, word: string): Promise<Command> {
  const load = Object.hasOwn(group.commands, word) ? group.commands[word] : undefined;
  if (load) return load();
  const near = nearestName(word, Object.keys(group.commands));
  throw new LockstepError("usage", `There is no command "${group.name} ${word}".`, {
    hint: near ? `Did you mean \`lockstep ${group.name} ${near}\`?` : `See \`lockstep ${group.name} --help\`.`,
  });
}

export async function helpOfGroup({ name, summary, details, commands }: CommandGroup): Promise<string> {
  const all = await Promise.all(Object.entries(commands).map(async ([word, load]) => [word, await load()] as const));
  return [
    summary,
    "",
    `Usage: lockstep ${name} COMMAND [options]`,
    "",
    "Commands:",
    ...all.map(([word, command]) => `  ${word.padEnd(8)}  ${command.summary}`),
    "",
    `\`lockstep ${name} COMMAND --help\` tells more.`,
    ...(details ? ["", details] : []),
    "",
  ].join("\n");
}

/** A negative number after an option is its value, which the option may refuse; Node takes it for another option. */
function withNegatives({ options }: Command, words: readonly string[]): string[] {
  const takesValue = (word: string) => word.startsWith("--") && (options[nameOf(word)]?.value ?? null) !== null;
  const joined: string[] = [];
  for (const word of words) {
    const before = joined.at(-1) ?? "";
    if (/^-\d/.test(word) && takesValue(before) && !before.includes("="))
      joined[joined.length - 1] = `${before}=${word}`;
    else joined.push(word);
  }
  return joined;
}

export function helpOf(command: Command): string {
  const rows = Object.entries(command.options).map(
    ([name, { value, short, help }]) =>
      [`--${name}${short ? `, -${short}` : ""}${value === null ? "" : ` ${value}`}`, help] as const,
  );
  const width = Math.max(...rows.map(([left]) => left.length), 6);
  const usage = `lockstep ${command.name}${command.argument ? ` ${command.argument.name}` : ""}${rows.length > 0 ? " [options]" : ""}`;
  return [
    `${command.summary}`,
    "",
    `Usage: ${usage}`,
    ...(command.argument ? ["", `  ${command.argument.name}  ${command.argument.help}`] : []),
    ...(rows.length > 0 ? ["", "Options:", ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)] : []),
    ...(command.details ? ["", command.details] : []),
    "",
  ].join("\n");
}

function usageError(command: Command, words: readonly string[], error: unknown): LockstepError {
  const unknown = words.find(
    (word) => word.startsWith("--") && nameOf(word) !== "help" && !(nameOf(word) in command.options),
  );
  if (unknown) {
    const near = Object.keys(command.options).find(
      (name) => nameOf(unknown).startsWith(name.slice(0, 4)) || name.startsWith(nameOf(unknown)),
    );
    return new LockstepError("usage", `\`lockstep ${command.name}\` knows no option ${unknown.split("=")[0]}.`, {
      hint: near ? `Did you mean --${near}?` : helpHint(command).hint,
    });
  }
  // Node's own sentence; the advice after it is about dashes.
  const sentence = messageOf(error).split(/\.(?:\s|$)/)[0]!;
  const name = /'(?:-\w, )?--([\w-]+)/.exec(sentence)?.[1];
  const option = name === undefined ? undefined : command.options[name];
  if (option === undefined || option.value === null)
    return new LockstepError("usage", `${sentence}.`, helpHint(command));
  return new LockstepError("usage", `--${name} needs a value: ${option.value}, ${option.help}.`, helpHint(command));
}

function nameOf(word: string): string {
  return word.slice(2).split("=")[0]!;
}

function helpHint(command: Command): { hint: string } {
  return { hint: `See \`lockstep ${command.name} --help\`.` };
}
