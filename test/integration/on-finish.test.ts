/** Under a supervisor that starts again whatever ends: a worker whose run is over stands idle, and is started again for more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const user = useUser();
const etcd = useEtcd();

test("a worker whose run is finished stands idle and healthy, until a start has more for it", {
  timeout: 120_000,
}, async () => {
  await user().write("small.csv", smallData(80));
  const job = await user().write("small.ts", smallJob());
  const words = [job, "--etcd", etcd().endpoint, "--http", "127.0.0.1:0"];
  const coordinator = async (epochs: number) => {
    const command = user().start("coordinator", ...words, "--epochs", String(epochs));
    const { http } = await command.whenLine("its address", ({ message }) => message === "serving HTTP");
    await command.whenLine("that it serves", ({ message }) => message === "serving");
    return { command, answers: () => answersOf(http) };
  };
  const worker = async () => {
    const command = user().start(
      ...["worker", ...words, "--checkpoints", user().at("checkpoints"), "--name", "a", "--on-finish", "wait"],
    );
    const { http } = await command.whenLine("its address", ({ message }) => message === "serving HTTP");
    return { command, answers: () => answersOf(http) };
  };
  const first = await worker();
  // Nobody has said yet what there is to train.
  assert.deepEqual(await first.answers(), { live: 200, ready: 503, why: "it is starting" });
  const served = await coordinator(2);
  assert.deepEqual(await served.answers(), { live: 200, ready: 200, why: "ok" });
  await first.command.whenLine("that it is idle", ({ message }) => message === "standing idle");
  assert.deepEqual(await first.answers(), { live: 200, ready: 200, why: "ok" });
  served.command.kill("SIGTERM");
  await served.command.exited;
  // What is finished already is no reason to end.
  const again = await coordinator(2);
  again.command.kill("SIGTERM");
  await again.command.exited;
  assert.equal((await first.answers()).live, 200);

  await coordinator(4);
  assert.equal((await first.command.exited).code, exitCodes["start-again"]);
  const second = await worker();
  await second.command.whenLine("epoch 4", ({ message, epoch }) => message === "committed" && epoch === 4);
  await second.command.whenLine("that it is idle", ({ message }) => message === "standing idle");
  second.command.kill("SIGTERM");
  assert.equal((await second.command.exited).code, 0);
});

async function answersOf(address: unknown): Promise<{ live: number; ready: number; why: string }> {
  const [live, ready] = await Promise.all(["livez", "readyz"].map((path) => fetch(`http://${address}/${path}`)));
  return { live: live!.status, ready: ready!.status, why: (await ready!.text()).trim() };
}
