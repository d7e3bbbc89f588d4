/** The simulator can fail: bugs that are planted one at a time are found, each by one of its first seeds. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import { type Edit, type PlantedBug, plantedBugs } from "./planted-bugs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("every planted bug has its one place in the sources", async () => {
  for (const bug of plantedBugs) {
    for (const { file, find, replace } of editsOf(bug)) {
      const text = await readFile(join(root, file), "utf8");
      assert.equal(text.split(find).length, 2, `${bug.name}: found once in ${file}`);
      assert.notEqual(find, replace);
    }
  }
});

for (const bug of plantedBugs) {
  const { name, rule, seeds, foundBy } = bug;
  test(`${rule}: a seed finds that ${name}`, { timeout: 600_000 }, async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "lockstep-planted-"));
    context.after(() => rm(folder, { recursive: true }));
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    await copyFile(join(root, "package.json"), join(folder, "package.json"));
    await bundle(join(folder, "simulate.mjs"), editsOf(bug));
    // The seed that found it last, to save time; when the sources have changed since, it has to be looked for.
    const last = foundBy === undefined ? null : await simulateIn(folder, { from: foundBy, seeds: 1 });
    const { code, output } = last?.code === 1 ? last : await simulateIn(folder, { from: 1, seeds });
    context.diagnostic(/seed \d+ breaks .{0,120}|seed \d+: .{0,120}/.exec(output)?.[0] ?? "found by no seed");
    assert.equal(code, 1, `no seed of ${seeds} finds it: ${output.slice(-500)}`);
    assert.match(output, /seed \d+ breaks [PR]\d+/);
  });
}

/** The simulator in one file, with the bug in it: it starts in a tenth of the time that its sources take. */
async function bundle(outfile: string, edits: readonly Edit[]) {
  const planted = new Set<Edit>();
  const plant: Plugin = {
    name: "plant",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        const edit = edits.find(({ file }) => path === join(root, file));
        if (!edit) return null;
        planted.add(edit);
        const text = await readFile(path, "utf8");
        return { contents: text.replace(edit.find, () => edit.replace), loader: "ts" };
      });
    },
  };
  await build({
    ...{ absWorkingDir: root, entryPoints: ["test/simulation/simulate.ts"], outfile, bundle: true, plugins: [plant] },
    ...{ format: "esm", platform: "node", target: "node20.11", packages: "external", logLevel: "error" },
  });
  for (const edit of edits) assert.ok(planted.has(edit), `the simulator runs ${edit.file}`);
}

function editsOf(bug: PlantedBug): readonly Edit[] {
  return bug.also ? [bug, bug.also] : [bug];
}

function simulateIn(
  folder: string,
  { from, seeds }: { readonly from: number; readonly seeds: number },
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const which = ["--from", String(from), "--seeds", String(seeds)];
    const args = ["simulate.mjs", "--until-failure", ...which];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}
