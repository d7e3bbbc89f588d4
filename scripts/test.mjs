// `npm test`: installs, gets engine and etcd, and runs every test. `npm test -- PATH …` runs only those files.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root, run } from "./install.mjs";
import { runTests } from "./node-tests.mjs";

checkNode();
await install();
const ci = process.env.CI === "true";
console.log("Setting up the engine and etcd …");
// In CI a missing native engine is a failure; elsewhere the tests that need one say so and are skipped.
const code = await run(process.execPath, [
  join(root, "bin/lockstep.mjs"),
  "setup",
  ...(ci ? ["--engine", "native"] : []),
]);
if (code !== 0) process.exit(code);

const named = process.argv.slice(2);
const files = named.length > 0 ? named : testFiles(join(root, "test"));
const { passed, failed, skipped, isWell } = await runTests(files, 2);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = isWell && passed > 0 ? 0 : 1;

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
