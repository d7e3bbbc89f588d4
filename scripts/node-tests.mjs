// Runs files of tests by `node --test`, shows what it says, and counts.
import { spawn } from "node:child_process";
import { root } from "./install.mjs";

/**
 * Resolves once all have run, to what was counted, what was said last and whether all is well: no test failed, none was cut off,
 * and the runner ended with 0. A file that takes more minutes than `mostMinutes` is ended and has failed: after a test that timed out
 * its process may never end, and those behind it would not be run.
 */
export function runTests(files, concurrency, mostMinutes = 25) {
  const reporters = ["spec", new URL("./slowest-files.mjs", import.meta.url).href].flatMap((reporter) => [
    `--test-reporter=${reporter}`,
    "--test-reporter-destination=stdout",
  ]);
  const words = [
    "--import",
    "tsx",
    "--test",
    ...reporters,
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${mostMinutes * 60_000}`,
    ...files,
  ];
  const runner = spawn(process.execPath, words, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  runner.stdout.on("data", (chunk) => {
    process.stdout.write(chunk);
    said = (said + chunk).slice(-200_000);
  });
  return new Promise((resolve) => {
    runner.on("close", (exit) => {
      const count = (name) => Number(said.match(new RegExp(`ℹ ${name} (\\d+)`))?.[1] ?? 0);
      const failed = count("fail") + count("cancelled");
      // A whole group that is skipped is one line, and in no count.
      const skipped = Math.max(count("skipped"), said.match(/^\s*﹣ /gm)?.length ?? 0);
      resolve({ passed: count("pass"), failed, skipped, said, isWell: exit === 0 && failed === 0 });
    });
  });
}
