// Trains the digits example for two epochs on each newer Node that users run, in a cluster of two workers that talk TLS.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./install.mjs";

const versions = ["22", "24"];
const platform = `node-${process.platform}-${process.arch}`;
const folder = mkdtempSync(join(tmpdir(), "lockstep-smoke-"));
const digests = new Set();
let failed = false;
try {
  for (const version of versions) {
    // npm carries Node's own programs as packages; each lands in a folder of its own.
    const home = join(folder, version);
    execFileSync(
      "npm",
      ["install", "--prefix", home, "--no-save", "--ignore-scripts", "--loglevel=error", `${platform}@${version}`],
      { stdio: "inherit" },
    );
    const node = join(home, "node_modules", platform, "bin", "node");
    const job = `smoke-${version}`;
    const args = [
      "launch",
      "examples/digits.ts",
      "--workers",
      "2",
      "--epochs",
      "2",
      "--job",
      job,
      "--directory",
      join(home, "run"),
      "--tls",
      "--json",
    ];
    const result = spawnSync(node, [join(root, "bin/lockstep.mjs"), ...args], { cwd: root, encoding: "utf8" });
    const last = result.stdout.trim().split("\n").at(-1) ?? "";
    const finished = last.startsWith("{") ? JSON.parse(last) : {};
    const ok = result.status === 0 && finished.event === "finished" && finished.epochs === 2;
    if (!ok) console.error(result.stderr);
    console.log(
      `Node ${version}: ${ok ? "trained" : `FAILED with exit code ${result.status}`} ${finished.weightsDigest ?? ""}`,
    );
    digests.add(finished.weightsDigest);
    failed ||= !ok;
  }
  if (digests.size > 1) console.error("The Node versions trained different weights.");
  process.exitCode = failed || digests.size > 1 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
