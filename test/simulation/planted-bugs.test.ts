/** The simulator can fail: bugs that are planted one at a time are found, each by one of its first seeds. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { plantedBugs } from "./planted-bugs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("every planted bug has its one place in the sources", async () => {
  for (const { name, file, find, replace } of plantedBugs) {
    const text = await readFile(join(root, file), "utf8");
    assert.equal(text.split(find).length, 2, `${name}: found once in ${file}`);
    assert.notEqual(find, replace);
  }
});

for (const { name, rule, file, find, replace, seeds, foundBy } of plantedBugs) {
  test(`${rule}: a seed finds that ${name}`, { timeout: 600_000 }, async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "lockstep-planted-"));
    context.after(() => rm(folder, { recursive: true }));
    for (const part of ["src", "test/simulation", "package.json", "tsconfig.json"]) {
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    const text = await readFile(join(folder, file), "utf8");
    await writeFile(
      join(folder, file),
      text.replace(find, () => replace),
    );
    // The seed that found it last, to save time; when the sources have changed since, it has to be looked for.
    const last = foundBy === undefined ? null : await simulateIn(folder, { from: foundBy, seeds: 1 });
    const { code, output } = last?.code === 1 ? last : await simulateIn(folder, { from: 1, seeds });
    context.diagnostic(/seed \d+ breaks .{0,120}|seed \d+: .{0,120}/.exec(output)?.[0] ?? "found by no seed");
    assert.equal(code, 1, `no seed of ${seeds} finds it: ${output.slice(-500)}`);
    assert.match(output, /seed \d+ breaks [PR]\d+/);
  });
}

function simulateIn(
  folder: string,
  { from, seeds }: { readonly from: number; readonly seeds: number },
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const which = ["--from", String(from), "--seeds", String(seeds)];
    const args = ["--import", "tsx", "test/simulation/simulate.ts", "--until-failure", ...which];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}
