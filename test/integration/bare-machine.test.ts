import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { etcdProgram } from "../fixtures/etcd.ts";
import { emptyMachine } from "../fixtures/machine.ts";

const quickstart = fileURLToPath(new URL("../../scripts/quickstart.mjs", import.meta.url));

test("with Node and an etcd alone, no compiler, no Python and no apt, the quickstart says so and still finishes", {
  timeout: 600_000,
}, async (context) => {
  const machine = await emptyMachine(context);
  await machine.addPrograms("sh", "sleep");
  const environment = {
    ...machine.environment,
    XDG_STATE_HOME: `${machine.directory}/state`,
    ETCD_BIN: await etcdProgram(),
    // A closed address: on an open network the older library could be downloaded and used.
    TFJS_NODE_BASE_URI: "http://127.0.0.1:9/",
  };
  const args = ["--epochs", "1", "--directory", `${machine.directory}/run`];
  const { code, output } = await new Promise<{ code: unknown; output: string }>((resolve) => {
    execFile(
      process.execPath,
      [quickstart, ...args],
      { env: environment, maxBuffer: 10_000_000 },
      (error, stdout, stderr) => {
        resolve({ code: error?.code ?? 0, output: stdout + stderr });
      },
    );
  });
  assert.equal(code, 0, output);
  assert.match(output, /WebAssembly/, "it says which engine it uses");
  assert.match(output, /declarations: 1 epoch/);
  assert.match(output, /What the best model writes/);
});
