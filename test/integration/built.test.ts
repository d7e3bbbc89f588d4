import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { root } from "../architecture/sources.ts";

interface Checkout {
  readonly dist: string;
  /** Changes a file of the checkout. */
  edit(file: string, from: string, to: string): Promise<void>;
  run(...args: string[]): Promise<{ code: unknown; stdout: string; stderr: string }>;
}

/** A copy of what lockstep is started from, in which nothing has been built. */
async function freshCheckout(context: TestContext): Promise<Checkout> {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-built-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  for (const name of ["bin", "src", "proto", "package.json", "tsconfig.json"]) {
    await cp(path.join(root, name), path.join(folder, name), { recursive: true });
  }
  await symlink(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  return {
    dist: path.join(folder, "dist"),
    async edit(file, from, to) {
      const text = await readFile(path.join(folder, file), "utf8");
      assert.ok(text.includes(from), `${file} has ${from}`);
      await writeFile(path.join(folder, file), text.replace(from, to));
    },
    run: (...args) =>
      new Promise((resolve) => {
        execFile(process.execPath, [path.join(folder, "bin/lockstep.mjs"), ...args], (error, stdout, stderr) => {
          resolve({ code: error?.code ?? 0, stdout, stderr });
        });
      }),
  };
}

test("an edited source is what runs; what was built before stays for those who run it, and goes when it is old", async (context) => {
  const checkout = await freshCheckout(context);
  assert.match((await checkout.run("--version")).stdout, /^lockstep \d/);
  const [before] = await readdir(checkout.dist);
  await checkout.edit("src/cli/main.ts", "`lockstep ${", "`edited ${");
  assert.match((await checkout.run("--version")).stdout, /^edited \d/);
  const after = await readdir(checkout.dist);
  assert.ok(after.length === 2 && after.includes(before!));
  await utimes(path.join(checkout.dist, before!), 0, 0);
  await checkout.edit("src/cli/main.ts", "`edited ${", "`again ${");
  assert.match((await checkout.run("--version")).stdout, /^again \d/);
  const last = await readdir(checkout.dist);
  assert.ok(last.length === 2 && !last.includes(before!));
});

test("many may start at once where nothing is built yet", async (context) => {
  const checkout = await freshCheckout(context);
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => checkout.run("worker", "--help")));
  for (const { code, stdout, stderr } of outcomes) {
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /Usage: lockstep worker/);
  }
  assert.equal((await readdir(checkout.dist)).length, 1, "one is left, and nothing unfinished");
});

test("where nothing can be written the sources run as they are", async (context) => {
  const checkout = await freshCheckout(context);
  await symlink("nowhere/at-all", checkout.dist);
  const { code, stdout, stderr } = await checkout.run("--version");
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^lockstep \d/);
});

test("the stack of an internal error names the source and its line", async (context) => {
  const checkout = await freshCheckout(context);
  await checkout.edit("src/cli/main.ts", "const [name, ...rest] = words;", 'throw new TypeError("a bug");');
  const { code, stderr } = await checkout.run("status");
  const lines = (await readFile(path.join(checkout.dist, "../src/cli/main.ts"), "utf8")).split("\n");
  const line = lines.findIndex((text) => text.includes("a bug")) + 1;
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^lockstep: TypeError: a bug\\n +at main \\(src/cli/main\\.ts:${line}\\)`));
});
