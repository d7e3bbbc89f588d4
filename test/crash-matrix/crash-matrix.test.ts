/** The crash matrix passes, in part; and it can fail: bugs that are planted one at a time are found. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { faultKinds, type Summary } from "./matrix.ts";
import { plantedBugs } from "./planted-bugs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("after every fault `latest` and `best` are whole, and the next start does the right thing", async () => {
  const { code, output } = await runMatrix(root, ["--fast"]);
  assert.equal(code, 0, output);
  const summary = summaryOf(output);
  assert.equal(summary.failed + summary.skipped, 0);
  assert.deepEqual(Object.keys(summary.faults).sort(), [...faultKinds].sort());
});

test("every planted bug has its one place in the sources", async () => {
  for (const { name, file, find, replace } of plantedBugs) {
    const text = await readFile(join(root, file), "utf8");
    assert.equal(text.split(find).length, 2, `${name}: found once in ${file}`);
    assert.notEqual(find, replace);
  }
});

for (const { name, file, find, replace, fault, at } of plantedBugs) {
  test(`a cell of "${fault}" finds that ${name}`, async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "lockstep-planted-"));
    context.after(() => rm(folder, { recursive: true }));
    for (const part of ["src", "test", "proto", "package.json", "tsconfig.json"]) {
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    const text = await readFile(join(folder, file), "utf8");
    await writeFile(
      join(folder, file),
      text.replace(find, () => replace),
    );
    const options = ["--until-failure", "--only", fault];
    const { code, output } = await runMatrix(
      folder,
      at === undefined ? [...options, "--fast"] : [...options, "--at", at],
    );
    assert.equal(code, 1, `no cell finds it: ${output}`);
    assert.ok(summaryOf(output).failed > 0, output);
    context.diagnostic(/^failed: .*/m.exec(output)?.[0].slice(0, 300) ?? "");
  });
}

function summaryOf(output: string): Summary {
  return JSON.parse(output.trimEnd().split("\n").at(-1)!) as Summary; // what main.ts prints last
}

function runMatrix(folder: string, options: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const args = ["--import", "tsx", "test/crash-matrix/main.ts", ...options];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}
