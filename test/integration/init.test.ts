import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { templates } from "../../src/cli/init/templates.ts";
import { root } from "../architecture/sources.ts";
import { useUser } from "../fixtures/cli.ts";

const theUser = useUser();

interface Ran {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** What npm and the network say when no registry answers. */
const unreachable = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED)\b/;

const tsconfig = `{
  "compilerOptions": { "target": "es2022", "module": "nodenext", "strict": true, "noEmit": true, "skipLibCheck": true },
  "include": ["digits.ts", "wrong.ts"]
}`;
const wrongJob = `import { csv, defineJob } from "lockstep";
export default defineJob({
  ...{ name: "wrong", seed: 1, data: csv("a.csv", { label: "label" }), batchSize: 8, epochs: 1 },
  model: (tf, { features }) => tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [...features] })] }),
  compile: { optimizer: { kind: "adamm", learningRate: 0.1 }, loss: "meanSquaredError" },
});
`;

test("the packed package, installed in an empty folder, writes a starter that trains to its end", {
  timeout: 600_000,
}, async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-packed-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const project = path.join(folder, "project");
  await mkdir(project);
  const env = { ...process.env, XDG_STATE_HOME: path.join(folder, "state") };
  const npm = (cwd: string, ...args: string[]) =>
    new Promise<Ran>((resolve) => {
      execFile("npm", args, { cwd, env, maxBuffer: 50_000_000 }, (error, stdout, stderr) =>
        resolve({ code: error?.code ?? 0, stdout, stderr }),
      );
    });
  const packed = await npm(root, "pack", "--ignore-scripts", "--json", "--pack-destination", folder);
  assert.equal(packed.code, 0, packed.stderr);
  const file = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--omit=dev"];
  const installed = await npm(project, "install", ...quiet, path.join(folder, file!));
  if (installed.code !== 0 && unreachable.test(installed.stderr)) {
    context.skip(`no registry answers: ${installed.stderr.split("\n").find((line) => unreachable.test(line))}`);
    return;
  }
  assert.equal(installed.code, 0, installed.stderr);
  const brought = await readdir(path.join(project, "node_modules"));
  for (const name of ["vite", "@biomejs", "playwright-core"]) assert.ok(!brought.includes(name), name);

  const written = await npm(project, "exec", "--offline", "--", "lockstep", "init");
  assert.equal(written.code, 0, written.stderr);
  assert.match(written.stdout, /digits\.ts is in this folder/);
  assert.ok(!written.stdout.includes("npm install"), "what is installed is not installed again");
  const { dependencies } = JSON.parse(await readFile(path.join(project, "package.json"), "utf8"));
  assert.deepEqual(Object.keys(dependencies), ["lockstep"], "the project's own package.json stayed");
  const elsewhere = await npm(project, "exec", "--offline", "--", "lockstep", "init", "other");
  assert.match(elsewhere.stdout, /cd other\n {2}npm install\n/);
  const other = JSON.parse(await readFile(path.join(project, "other/package.json"), "utf8"));
  assert.equal(other.dependencies.lockstep, `file:../../${file}`);

  // A project whose compiler knows nothing of this one's settings.
  await writeFile(path.join(project, "tsconfig.json"), tsconfig);
  await writeFile(path.join(project, "wrong.ts"), wrongJob);
  const types = await new Promise<Ran>((resolve) => {
    const compiler = path.join(project, "node_modules/.bin/tsc");
    execFile(compiler, ["-p", project], (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
  });
  const [found = "", ...others] = types.stdout.trim().split("\n");
  assert.match(found, /wrong\.ts\(5,\d+\): error TS\d+: Type '"adamm"' is not assignable/, "what is wrong is found");
  assert.deepEqual(others, [], "and nothing else: neither in the starter nor in the package");

  const command = ["lockstep", "launch", "digits.ts", "--workers", "2", "--epochs", "2", "--json"];
  const trained = await npm(project, "exec", "--offline", "--", ...command);
  assert.equal(trained.code, 0, trained.stderr);
  const finished = JSON.parse(trained.stdout.trim().split("\n").at(-1)!);
  assert.equal(finished.event, "finished");
  assert.equal(finished.epochs, 2);
  assert.ok(finished.test.accuracy > 0.8, JSON.stringify(finished.test));
});

test("init writes over nothing, keeps a project's package.json, and names what is in the way", async () => {
  const folder = theUser().at("kept");
  await mkdir(folder);
  await writeFile(path.join(folder, "package.json"), '{ "name": "mine" }');
  const { code, stderr } = await theUser().run("init", "kept");
  assert.deepEqual([code, stderr], [0, ""]);
  assert.equal(await readFile(path.join(folder, "package.json"), "utf8"), '{ "name": "mine" }');
  await rm(path.join(folder, "data"), { recursive: true });
  await writeFile(path.join(folder, "digits.ts"), "mine");
  const again = await theUser().run("init", "kept");
  assert.equal(again.code, 2);
  assert.match(again.stderr, /"digits\.ts" and "README\.md" are in .*kept already; nothing is written over\./);
  assert.equal(await readFile(path.join(folder, "digits.ts"), "utf8"), "mine");
  assert.ok(!(await readdir(folder)).includes("data"), "nothing of it was written");
});

test("a template that there is not is refused with the nearest one", async () => {
  const { code, stderr } = await theUser().run("init", "--template", "minst", "new");
  assert.equal(code, 2);
  assert.match(stderr, /There is no template "minst"; "digits", .* was expected\.\n {2}Did you mean mnist\?/);
});

test("every example is a template, and every template an example with its data", async () => {
  const examples = (await readdir(path.join(root, "examples"))).filter((name) => name.endsWith(".ts"));
  assert.deepEqual(templates.map(({ job }) => job).sort(), examples.sort());
  const data = await readdir(path.join(root, "examples/data"));
  for (const template of templates)
    assert.deepEqual(
      template.data.filter((file) => !data.includes(file)),
      [],
    );
});
