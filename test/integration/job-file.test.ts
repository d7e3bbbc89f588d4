import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, describe, it } from "node:test";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { loadJob } from "../../src/adapters/job-file/load-job.ts";
import { LockstepError } from "../../src/core/errors.ts";

const repository = path.join(import.meta.dirname, "../..");

let root = "";
before(async () => {
  root = await mkdtemp(path.join(tmpdir(), "lockstep-job-"));
});
after(() => rm(root, { recursive: true, force: true }));

let folders = 0;
/** A fresh folder with these files, far from any node_modules. */
async function folderWith(contents: Readonly<Record<string, string>>): Promise<string> {
  const folder = path.join(root, String(++folders));
  for (const [name, content] of Object.entries(contents)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), content);
  }
  return folder;
}

/** What a process of the built program, which has no tsx before, loads from a job file. */
function asBuilt(file: string, cache?: string): Readonly<Record<string, unknown>> {
  const script = `
    import { builtModule } from "./bin/build.mjs";
    const { loadJob } = await import(await builtModule("adapters/job-file/load-job"));
    const told = await loadJob(${JSON.stringify(file)}).then(
      ({ job: { name, seed, preprocess } }) => ({ name, seed, map: preprocess.features[0]?.apply?.toString() }),
      ({ message }) => ({ error: message }),
    );
    console.log(JSON.stringify(told));`;
  const child = spawnSync(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: repository,
    encoding: "utf8",
    env: { ...process.env, ...(cache !== undefined && { XDG_CACHE_HOME: cache }) },
  });
  assert.equal(child.stderr, "");
  return JSON.parse(child.stdout) as Readonly<Record<string, unknown>>;
}

function jobSource(name: string, more = "", head = ""): string {
  return `${head}import { csv, defineJob, type JobDefinition } from "lockstep";
const job: JobDefinition = {
  name: "${name}",
  data: csv("a.csv", { label: "y" }),
  model: (tf) => tf.sequential(),
  compile: { optimizer: { kind: "adam", learningRate: 0.001 }, loss: "meanSquaredError" },
  batchSize: 8,
  epochs: 1,
  ${more}
};
export default defineJob(job);
`;
}
const javascript = (source: string) => source.replace(", type JobDefinition", "").replace(": JobDefinition", "");

async function errorOf(file: string): Promise<LockstepError> {
  try {
    await loadJob(file);
  } catch (error) {
    assert(error instanceof LockstepError);
    assert.equal(error.code, "invalid-job");
    assert.doesNotMatch(error.message, /\n/);
    return error;
  }
  return assert.fail("the job file was accepted");
}

const packages = {
  none: null,
  "of ES modules": '{"type":"module"}',
  "of CommonJS": '{"type":"commonjs"}',
  empty: "{}",
};

describe("a job file", () => {
  for (const [kind, packageJson] of Object.entries(packages)) {
    for (const extension of ["ts", "mts", "js", "mjs"]) {
      it(`job.${extension} loads from a folder far from lockstep, package.json: ${kind}`, async () => {
        const helper = extension.endsWith("ts") ? "./sizes.ts" : "./sizes.mjs";
        const source = jobSource("far", "seed,", `import { seed } from "${helper}";\n`);
        const folder = await folderWith({
          [`job.${extension}`]: extension.endsWith("ts") ? source : javascript(source),
          "sizes.ts": "export const seed: number = 5;\n",
          "sizes.mjs": "export const seed = 6;\n",
          ...(packageJson === null ? {} : { "package.json": packageJson }),
        });
        const { job, path: file, directory } = await loadJob(path.join(folder, `job.${extension}`));
        assert.deepEqual([job.name, job.seed], ["far", extension.endsWith("ts") ? 5 : 6]);
        assert.deepEqual([file, directory], [path.join(folder, `job.${extension}`), folder]);
      });
    }
  }

  it("job.js is that very file, also beside a job.ts", async () => {
    const folder = await folderWith({
      "job.ts": jobSource("typescript"),
      "job.js": javascript(jobSource("javascript")),
    });
    assert.equal((await loadJob(path.join(folder, "job.js"))).job.name, "javascript");
  });

  it("may be named by a relative path, and have odd characters in its name", async () => {
    const folder = await folderWith({ "my job #1 (é) %20.ts": jobSource("odd") });
    const relative = path.relative(process.cwd(), path.join(folder, "my job #1 (é) %20.ts"));
    assert.equal((await loadJob(relative)).directory, folder);
  });

  it("loads in the program as it is built, which has no tsx before", async () => {
    const folder = await folderWith({ "job.ts": jobSource("program") });
    assert.equal(asBuilt(path.join(folder, "job.ts")).name, "program");
  });

  it("is compiled once: the second time what was kept is loaded, until the file or what it imports is another", async () => {
    const files = {
      "job.ts": jobSource("one", "seed,", 'import { seed } from "./a/sizes.js";\n'),
      "a/sizes.ts": 'export { seed } from "./more";\n',
      "a/more.ts": "export const seed: number = 5;\n",
    };
    const folder = await folderWith(files);
    const file = path.join(folder, "job.ts");
    const kept = path.join(folder, "cache/lockstep/job-files");
    const load = () => asBuilt(file, path.join(folder, "cache"));
    assert.deepEqual(load(), { name: "one", seed: 5 });
    const names = await readdir(kept);
    assert.equal(names.length, 3);
    for (const name of names) {
      const code = await readFile(path.join(kept, name), "utf8");
      await writeFile(path.join(kept, name), code.replace('"one"', '"kept"'));
    }
    assert.deepEqual(load(), { name: "kept", seed: 5 });
    await writeFile(path.join(folder, "a/more.ts"), "export const seed: number = 6;\n");
    assert.deepEqual(load(), { name: "one", seed: 6 }, "all is compiled anew");
    await writeFile(file, files["job.ts"].replace('"one"', '"two"'));
    assert.deepEqual(load(), { name: "two", seed: 6 });
  });

  it("that was compiled before has the same functions, and its errors the same lines", async () => {
    const transform = "(row: Float32Array): Float32Array => { const add = (a: number) => a + 1; return row.map(add); }";
    const source = jobSource("far", `preprocess: { features: map(${transform}, { shape: [1] }) },`);
    const throwing = `interface A {\n  b: string;\n}\n\nexport function fail(a: A | null) {\n  return a!.b;\n}\n`;
    const folder = await folderWith({
      "job.ts": source.replace("csv, ", "csv, map, "),
      "throws.ts": 'import { fail } from "./fail.ts";\ninterface A {}\n\n\nexport default fail(null as A as null);\n',
      "fail.ts": throwing,
      "unknown.ts": 'import { cvs } from "lockstep";\nexport default cvs;\n',
    });
    for (const name of ["job.ts", "throws.ts", "unknown.ts"]) {
      const load = () => asBuilt(path.join(folder, name), path.join(folder, `cache-${name}`));
      const first = load();
      assert.ok((await readdir(path.join(folder, `cache-${name}`, "lockstep/job-files"))).length > 0);
      assert.deepEqual(load(), first);
      if (name === "job.ts") assert.match(String(first.map), /add/);
      if (name === "throws.ts")
        assert.match(String(first.error), /throws\.ts, line 5, threw while it was loaded: TypeError/);
      if (name === "unknown.ts") assert.match(String(first.error), /'lockstep'.* named 'cvs'\.$/);
    }
  });

  it("that imports a package is never taken from what was kept: the package may be TypeScript", async () => {
    const folder = await folderWith({
      "job.ts": jobSource("one", "seed,", 'import { seed } from "sizes";\n'),
      "node_modules/sizes/package.json": '{ "name": "sizes", "type": "module", "exports": "./index.ts" }',
      "node_modules/sizes/index.ts": "export const seed: number = 5;\n",
    });
    const load = () => asBuilt(path.join(folder, "job.ts"), path.join(folder, "cache"));
    assert.deepEqual(load(), { name: "one", seed: 5 });
    assert.deepEqual(load(), { name: "one", seed: 5 });
  });

  it("draws the same numbers in every process while it is loaded, though its seed is not known yet", async () => {
    const head =
      "const { random } = Math;\nconst rate = Math.random();\nawait Promise.resolve();\nconst more = random();\n";
    const rest = jobSource("drawing").replace("learningRate: 0.001", "learningRate: rate + more");
    const rateOf = async () => {
      const { job } = await loadJob(path.join(await folderWith({ "job.ts": head + rest }), "job.ts"));
      return job.optimizer.learningRate;
    };
    const rate = await rateOf();
    assert.equal(await rateOf(), rate);
    assert.ok(Number(rate) > 0);
    assert.notEqual(Math.random(), Math.random(), "afterwards it is random again");
  });

  it("gets LockstepError and the other exports of this very package", async () => {
    const throws =
      'import { LockstepError } from "lockstep";\nthrow new LockstepError("invalid-data", "No text here.");\n';
    const folder = await folderWith({ "job.ts": throws });
    const expected = { name: "LockstepError", code: "invalid-data", message: "No text here." };
    await assert.rejects(loadJob(path.join(folder, "job.ts")), expected);
  });
});

describe("a job file's digest", () => {
  const digestOf = async (contents: Readonly<Record<string, string>>) =>
    (await loadJob(path.join(await folderWith(contents), "job.ts"))).digest;
  const importing = (specifier: string) => jobSource("digest", "seed,", `import { seed } from "${specifier}";\n`);
  const chain = { "a/one.ts": 'export * from "./two.js";\n', "a/two.ts": "export const seed: number = 1;\n" };

  it("is the same for the same bytes in another folder", async () => {
    const digest = await digestOf({ "job.ts": importing("./a/one.ts"), ...chain });
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal(await digestOf({ "job.ts": importing("./a/one.ts"), ...chain, "other.ts": "" }), digest);
  });

  it("changes with the file, and with what it imports, directly or not", async () => {
    const digests = new Set([
      await digestOf({ "job.ts": importing("./a/one.ts"), ...chain }),
      await digestOf({ "job.ts": `${importing("./a/one.ts")}\n`, ...chain }),
      await digestOf({ "job.ts": importing("./a/one.ts"), ...chain, "a/one.ts": `${chain["a/one.ts"]}\n` }),
      await digestOf({ "job.ts": importing("./a/one.ts"), ...chain, "a/two.ts": "export const seed: number = 2;\n" }),
    ]);
    assert.equal(digests.size, 4);
  });

  it("changes with the version of a package, not with its place or its other files", async () => {
    const source = importing("numbers/one");
    const numbers = (version: string, more = "") => ({
      "node_modules/numbers/package.json": JSON.stringify({ name: "numbers", version, type: "module" }),
      "node_modules/numbers/one.js": `export const seed = 1;\n${more}`,
    });
    const withExtension = source.replace("numbers/one", "numbers/one.js");
    const digest = await digestOf({ "job.ts": withExtension, ...numbers("1.0.0") });
    assert.equal(await digestOf({ "job.ts": withExtension, ...numbers("1.0.0", "// more\n") }), digest);
    assert.notEqual(await digestOf({ "job.ts": withExtension, ...numbers("1.0.1") }), digest);
  });

  it("changes with what is imported by an absolute path, a file: URL, or the imports of a package.json", async () => {
    const digestWith = async (specifier: string, value: number) => {
      const folder = await folderWith({
        "a/sizes.ts": `export const seed: number = ${value};\n`,
        "package.json": JSON.stringify({
          type: "module",
          imports: { "#sizes": { node: "./a/sizes.ts", default: "./a/other.ts" }, "#all/*": "./a/*.ts" },
        }),
      });
      await writeFile(path.join(folder, "job.ts"), importing(specifier));
      const { job, digest } = await loadJob(path.join(folder, "job.ts"));
      assert.equal(job.seed, value, "it is what is imported");
      return digest;
    };
    for (const specifier of ["#sizes", "#all/sizes"]) {
      const digest = await digestWith(specifier, 1);
      assert.equal(await digestWith(specifier, 1), digest);
      assert.notEqual(await digestWith(specifier, 2), digest);
    }
    const folder = await folderWith({ "a/sizes.ts": "export const seed = 1;\n" });
    const file = path.join(folder, "a/sizes.ts");
    for (const specifier of [file, pathToFileURL(file).href]) {
      await writeFile(file, "export const seed = 1;\n");
      const before = await digestOf({ "job.ts": importing(specifier) });
      await writeFile(file, "export const seed = 1; // one remark more\n");
      assert.notEqual(await digestOf({ "job.ts": importing(specifier) }), before, specifier);
    }
  });

  it("comes to an end where modules import each other", async () => {
    const circle = {
      "a.ts": 'import "./b.ts";\nexport const seed = 1;\n',
      "b.ts": 'import "./a.ts";\nimport "./job.ts";\n',
    };
    assert.match(await digestOf({ "job.ts": importing("./a.ts"), ...circle }), /^sha256:/);
  });
});

describe("a job file that cannot be loaded is named in one sentence", () => {
  const cases: readonly [what: string, content: string, message: string | RegExp, hint?: RegExp][] = [
    [
      "a syntax error",
      'import { csv } from "lockstep";\nconst a: number = ;\n',
      'FILE, line 2, column 18: Unexpected ";".',
    ],
    [
      "an unknown export",
      'import { cvs } from "lockstep";\nexport default cvs;\n',
      /^FILE.*'lockstep'.* named 'cvs'\.$/,
    ],
    [
      "a thrown error",
      "interface A {\n  b: string;\n}\nconst a: A | null = JSON.parse('null');\nexport default a!.b;\n",
      "FILE, line 5, threw while it was loaded: TypeError: Cannot read properties of null (reading 'b').",
    ],
    ["a thrown text", 'throw "no data";\n', "FILE threw while it was loaded: no data."],
    [
      "a rejection",
      'await Promise.reject(new Error("No data\\nat all."));\n',
      /^FILE.* threw while it was loaded: Error: No data\.$/,
    ],
    [
      "an import that is not there",
      'import "./nothing.ts";\n',
      /^FILE imports something that is not there: .*nothing\.ts/,
    ],
    [
      "a package that is not there",
      'import "no-such-package";\n',
      /^FILE imports .*no-such-package/,
      /install the package/,
    ],
    [
      "no default export",
      "export const job = 1;\n",
      "The job file FILE has no default export, only job.",
      /export default/,
    ],
    ["nothing in it", "", "The job file FILE has no default export."],
    [
      "something else",
      "export default 42;\n",
      "FILE: The default export is 42; expected a job, as defineJob({ … }) returns it.",
    ],
    ["a wrong field", jobSource("wrong", "seed: -1,"), "FILE: seed is -1; expected a whole number, 0 or more."],
    [
      "an unknown field",
      jobSource("wrong", "batchsize: 1,"),
      /^FILE: batchsize is not a field/,
      /Did you mean "batchSize"/,
    ],
  ];
  for (const [what, content, message, hint] of cases) {
    it(what, async () => {
      const file = path.join(await folderWith({ "job.ts": content }), "job.ts");
      const error = await errorOf(file);
      const shown = error.message.replaceAll(file, "FILE");
      if (typeof message === "string") assert.equal(shown, message);
      else assert.match(shown, message);
      if (hint) assert.match(error.hint ?? "", hint);
    });
  }

  it("a syntax error in a file that it imports names that file", async () => {
    const folder = await folderWith({ "job.ts": 'import "./other.ts";\n', "other.ts": "\n\nexport const = 1;\n" });
    const error = await errorOf(path.join(folder, "job.ts"));
    assert.equal(
      error.message,
      `${path.join(folder, "other.ts")}, line 3, column 13: Expected identifier but found "=".`,
    );
    assert(error.cause !== undefined);
  });

  it("no such file, a folder, another kind of file", async () => {
    const folder = await folderWith({ "job.json": "{}", "job.ts/inside.txt": "" });
    const of = async (name: string) => (await errorOf(path.join(folder, name))).message.replaceAll(folder, "FOLDER");
    assert.equal(await of("no.ts"), "There is no job file FOLDER/no.ts (looked for FOLDER/no.ts).");
    assert.equal(await of("job.ts"), "The job file FOLDER/job.ts is a folder; expected a file.");
    assert.match(await of("job.json"), /job\.json is no module; expected a \.ts, \.mts, \.js, \.mjs file/);
  });
});

describe("the examples", () => {
  for (const [name, monitor] of [
    ["digits", "val_accuracy"],
    ["declarations", "val_loss"],
  ] as const) {
    it(`${name} loads with its data, and monitors ${monitor}`, async () => {
      const { job, directory } = await loadJob(path.join(repository, `examples/${name}.ts`));
      assert.deepEqual([job.name, job.checkpoint.monitor], [name, monitor]);
      assert((await openDataset(job.data, path.join(directory, "data"))).length > 1000);
      if (job.test) assert((await openDataset(job.test, path.join(directory, "data"))).length > 1000);
    });
  }
});
