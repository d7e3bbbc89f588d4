// `npm run test:kubernetes`: a cluster in the Kubernetes that KUBECONFIG names, and what operators and accidents do to it. Where none
// is named, each test says so and is skipped. The last line is JSON.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root } from "./install.mjs";

checkNode();
await install();
const folder = join(root, "test/kubernetes");
const named = process.argv.slice(2);
const all = readdirSync(folder).filter((name) => name.endsWith(".kubernetes-test.ts"));
const files = named.length > 0 ? named : all.sort().map((name) => join(folder, name));
const words = ["--import", "tsx", "--test", "--test-reporter=spec", "--test-concurrency=1", ...files];
const runner = spawn(process.execPath, words, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
let said = "";
runner.stdout.on("data", (chunk) => {
  process.stdout.write(chunk);
  said = (said + chunk).slice(-200_000);
});
runner.on("close", (exit) => {
  const count = (name) => Number(said.match(new RegExp(`ℹ ${name} (\\d+)`))?.[1] ?? 0);
  const failed = count("fail") + count("cancelled");
  const faults = said.match(/^\{"faults":(\{.*?\})\}$/m)?.[1] ?? "{}";
  // A whole group that is skipped is one line, and in no count.
  const skipped = Math.max(count("skipped"), said.match(/^\s*﹣ /gm)?.length ?? 0);
  console.log(JSON.stringify({ run: count("pass") + failed, failed, skipped, faults: JSON.parse(faults) }));
  process.exitCode = exit === 0 && failed === 0 ? 0 : 1;
});
