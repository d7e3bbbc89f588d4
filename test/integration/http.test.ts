/** What real processes serve over HTTP. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import { registered, startLaunch, testFolder } from "../fixtures/running-launch.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const user = useUser();
const etcd = useEtcd();

test("a worker answers while compute blocks its thread", { timeout: 120_000 }, async () => {
  await user().write("small.csv", smallData(80));
  // Whoever opens the model is held up until a file is there, without ever letting its thread do anything else.
  const gate = user().at("gate");
  const text = smallJob().replace("model: (tf, { features }) => tf", `model: (tf, { features }) => hold() ?? tf`);
  const hold = `import { existsSync, writeSync } from "node:fs";
function hold() {
  writeSync(2, '{"message":"held up"}\\n');
  while (!existsSync(${JSON.stringify(gate)}));
}
`;
  const job = await user().write("small.ts", `${hold}${text}`);
  const words = [job, "--etcd", etcd().endpoint, "--http", "127.0.0.1:0"];
  user().start("coordinator", ...words);
  const worker = user().start("worker", ...words, "--checkpoints", user().at("checkpoints"), "--engine", "cpu");
  const { http } = await worker.whenLine("its address", ({ message }) => message === "serving HTTP");
  await worker.whenLine("that compute is busy", ({ message }) => message === "held up");
  for (const [path, status] of [
    ["/livez", 200],
    ["/readyz", 503],
    ["/", 404],
  ] as const) {
    assert.equal((await fetch(`http://${http}${path}`)).status, status, path);
  }
  await user().write("gate", "");
  await worker.whenLine("that it trains", ({ message }) => message === "committed");
});

test("whoever looks for a launched job finds its coordinator's address", { timeout: 120_000 }, async (context) => {
  const folder = await testFolder(context);
  const launch = startLaunch(context, folder, ["--job", "found", "--workers", "1", "--engine", "cpu"]);
  await launch.whenStatus(({ state }) => state === "training");
  const { http } = await registered(folder, "found");
  assert.equal((await fetch(`http://${http}/readyz`)).status, 200);
  launch.kill("SIGINT");
  await launch.exited;
});
