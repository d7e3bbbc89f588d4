/** `lockstep init`: a folder with a job that trains, its data, and what to do next. */
import { existsSync, readFileSync } from "node:fs";
import { mkdir, realpath, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { dependencyOnThis } from "../adapters/system/own-package.ts";
import { packageRoot } from "../adapters/system/package-root.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { listed } from "../core/field-checks.ts";
import type { Arguments, Command } from "./command.ts";
import { nextCommands, type StarterFile, starterFiles } from "./init/starter.ts";
import { templateNamed, templates } from "./init/templates.ts";

export const init: Command = {
  name: "init",
  summary: "Write a starter: a job with its data, ready to be trained.",
  argument: { name: "[DIR]", help: "the folder, made where there is none (default: this one)", most: 1 },
  options: {
    template: { value: "NAME", help: `what to begin with (default: ${templates[0]!.name}); see below` },
  },
  details: [
    "Templates:",
    ...templates.map(({ name, summary }) => `  ${name.padEnd(14)}${summary}`),
    "",
    "Nothing is written over. A package.json that is there already stays as it is.",
  ].join("\n"),
  run: runInit,
};

async function runInit(args: Arguments): Promise<number> {
  const template = templateNamed(args.text("template") ?? templates[0]!.name);
  const folder = resolve(args.words[0] ?? ".");
  try {
    await mkdir(folder, { recursive: true });
    const dependencies = {
      lockstep: dependencyOnThis(await realpath(folder)),
      ...Object.fromEntries(template.packages.map((name) => [name, versionOf(name)])),
    };
    const examples = join(packageRoot, "examples");
    const files = await starterFiles({ template, name: packageName(folder), dependencies, examples });
    await write(folder, files);
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw new LockstepError("usage", `${folder} cannot be written: ${messageOf(error)}.`, {
      hint: "Name another folder.",
      cause: error,
    });
  }
  const here = relative(process.cwd(), folder);
  const into = here === "" ? [] : [`cd ${/\s/.test(here) ? JSON.stringify(here) : here}`];
  const needed = existsSync(join(folder, "node_modules", "lockstep")) ? [] : ["npm install"];
  const next = [...into, ...needed, ...nextCommands(template)];
  process.stdout.write(
    `${[`The job ${template.job} is in ${here || "this folder"}. Next:`, ...next.map((line) => `  ${line}`)].join("\n")}\n`,
  );
  return 0;
}

async function write(folder: string, files: readonly StarterFile[]): Promise<void> {
  const there = files.filter(({ path }) => existsSync(join(folder, path)));
  const inTheWay = there.filter(({ mayStay }) => !mayStay).map(({ path }) => path);
  if (inTheWay.length > 0) {
    const [is, them] = inTheWay.length === 1 ? ["is", "it"] : ["are", "them"];
    throw new LockstepError(
      "usage",
      `${listed(inTheWay, "and")} ${is} in ${folder} already; nothing is written over.`,
      {
        hint: `Name a folder that does not have ${them}, as \`lockstep init my-job\`.`,
      },
    );
  }
  for (const { path, content } of files.filter((file) => !there.includes(file))) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content, { flag: "wx" });
  }
}

/** As npm allows it. */
function packageName(folder: string): string {
  const name = basename(folder)
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[._-]+|-+$/g, "");
  return name === "" || name === "lockstep" ? "my-job" : name;
}

/** The version that lockstep itself is made with. */
function versionOf(name: string): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  return manifest.dependencies[name]!;
}
