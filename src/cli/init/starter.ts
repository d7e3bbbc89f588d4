/** The files of a starter, as they are written: a job with its data, a package and a page on what to do next. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Template } from "./templates.ts";

export interface StarterFile {
  /** Relative to the starter's folder. */
  readonly path: string;
  readonly content: string | Buffer;
  /** Whether one that is there already may stay as it is: the folder is then a project already. */
  readonly mayStay: boolean;
}

export interface StarterWish {
  readonly template: Template;
  /** What the package is called. */
  readonly name: string;
  /** What npm is to install, by package. */
  readonly dependencies: Readonly<Record<string, string>>;
  /** The folder of the examples. */
  readonly examples: string;
}

/** The commands that a starter is told with, one after the other. */
export function nextCommands({ job }: Template): readonly [train: string, look: string] {
  return [`npx lockstep launch ${job} --workers 2`, `npx lockstep dashboard ${job}`];
}

export async function starterFiles({
  template,
  name,
  dependencies,
  examples,
}: StarterWish): Promise<readonly StarterFile[]> {
  const { job, data } = template;
  const manifest = {
    name,
    private: true,
    type: "module",
    scripts: { train: `lockstep launch ${job} --workers 2`, check: `lockstep check ${job}` },
    dependencies,
  };
  const own = (path: string, content: string | Buffer): StarterFile => ({ path, content, mayStay: false });
  const ofTheProject = (path: string, content: string): StarterFile => ({ path, content, mayStay: true });
  return [
    own(job, await readFile(join(examples, job))),
    ...(await Promise.all(data.map(async (file) => own(`data/${file}`, await readFile(join(examples, "data", file)))))),
    own("README.md", readme(name, template)),
    ofTheProject("package.json", `${JSON.stringify(manifest, null, 2)}\n`),
    ofTheProject(".gitignore", "node_modules/\nruns/\n"),
    ofTheProject(
      ".npmrc",
      "# TensorFlow.js' install scripts download a library that lockstep fetches by itself, where it is needed.\nignore-scripts=true\n",
    ),
  ];
}

function readme(name: string, template: Template): string {
  const { job, summary, about } = template;
  const [train, look] = nextCommands(template);
  return `# ${name}

A job for lockstep: ${summary}. \`npm install\` once; then

\`\`\`sh
${train}   # trains it on two workers; Ctrl-C saves and stops, the same command goes on
${look}   # shows how it goes, or how it went, in a browser
\`\`\`

\`${job}\` says what is trained. Change it, and \`npx lockstep check ${job}\` says whether it can be trained.

${about}
`;
}
