// `npm test`: installs, gets engine and etcd, and runs every test. `npm test -- PATH …` runs only those files.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root, run } from "./install.mjs";

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
const runner = spawn(
  process.execPath,
  ["--import", "tsx", "--test", "--test-reporter=spec", "--test-concurrency=2", ...files],
  { cwd: root, stdio: ["ignore", "pipe", "inherit"] },
);
let tail = "";
runner.stdout.on("data", (chunk) => {
  process.stdout.write(chunk);
  tail = (tail + chunk).slice(-20_000);
});
runner.on("close", (exit) => {
  const count = (name) => Number(tail.match(new RegExp(`ℹ ${name} (\\d+)`))?.[1] ?? 0);
  const failed = count("fail") + count("cancelled");
  console.log(`${count("pass")} passed, ${failed} failed, ${count("skipped")} skipped`);
  process.exitCode = exit === 0 && failed === 0 && count("pass") > 0 ? 0 : 1;
});

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
