import assert from "node:assert/strict";
import { test } from "node:test";
import { useUser } from "../fixtures/cli.ts";
import { filesBelow, textOf } from "./sources.ts";

const limit = { timeout: 180_000 };
const theUser = useUser();

/** The commands that main.ts knows. */
function commandNames(): string[] {
  const [, list = ""] = /const commands: .*> = \{([\s\S]*?)\n\};/.exec(textOf("src/cli/main.ts")) ?? [];
  return Array.from(list.matchAll(/^ {2}"?([a-z-]+)"?: async/gm), ([, name]) => name!);
}

/** The options that each command's `--help` lists. */
const options = new Map<string, Set<string>>();

test("every command has a --help that exits 0 and says what it is for", limit, async () => {
  const names = commandNames();
  assert.ok(names.length >= 8 && names.includes("launch"), names.join(" "));
  const overview = await theUser().run("--help");
  assert.equal(overview.code, 0, overview.stderr);
  for (const name of names) {
    const { code, stdout, stderr } = await theUser().run(name, "--help");
    assert.deepEqual([code, stderr], [0, ""], name);
    assert.ok(stdout.includes(`Usage: lockstep ${name}`), stdout);
    const [summary = ""] = stdout.split("\n");
    assert.ok(overview.stdout.includes(`${name} `) && overview.stdout.includes(summary), `${name} is in the overview`);
    options.set(name, optionsIn(stdout));
    const [, list] = /^Commands:\n((?: {2}.*\n)+)/m.exec(stdout) ?? [];
    for (const [, word] of list?.matchAll(/^ {2}([a-z]+) /gm) ?? []) {
      const second = await theUser().run(name, word!, "--help");
      assert.deepEqual([second.code, second.stderr], [0, ""], `${name} ${word}`);
      assert.ok(second.stdout.includes(`Usage: lockstep ${name} ${word}`), second.stdout);
      options.set(`${name} ${word}`, optionsIn(second.stdout));
    }
  }
  assert.ok(options.has("checkpoints list"), "commands of two words are known");
});

function optionsIn(help: string): Set<string> {
  return new Set(Array.from(help.matchAll(/^ {2}(--[a-z-]+)/gm), ([, option]) => option!));
}

test("what the documents tell to type is what the commands know", () => {
  const wrong: string[] = [];
  for (const file of filesBelow(".", ".md")) {
    const text = textOf(file).replace(/\\\n\s*/g, " ");
    for (const [line, command, rest = ""] of text.matchAll(
      /(?<![\w/-])lockstep(?: |\.mjs )([a-z]+(?:-[a-z]+)*)\b([^`\n#|]*)/g,
    )) {
      const typed = rest.match(/(?<=\s|\[)--[a-z][a-z-]*/g) ?? [];
      // Prose has "lockstep is …" too; a command is meant where an option follows, or the name is one.
      const second = /^ ([a-z]+)\b/.exec(rest)?.[1];
      const known = options.get(`${command} ${second}`) ?? options.get(command!);
      if (known === undefined && typed.length > 0) wrong.push(`${file}: there is no command in: ${line}`);
      for (const option of typed) {
        if (known && option !== "--help" && !known.has(option)) wrong.push(`${file}: ${command} has no ${option}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});
