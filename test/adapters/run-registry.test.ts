/** The record of a launch: read at any moment while it is written, it is whole. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { forgetRun, type RegisteredRun, readRun, registerRun } from "../../src/adapters/system/run-registry.ts";
import { testFolder } from "../fixtures/running-launch.ts";

test("records that are written at once follow each other, and a reader finds one of them whole", async (context) => {
  const before = process.env.XDG_STATE_HOME;
  process.env.XDG_STATE_HOME = await testFolder(context);
  context.after(() => {
    if (before === undefined) delete process.env.XDG_STATE_HOME;
    else process.env.XDG_STATE_HOME = before;
  });
  const run = (workers: number): RegisteredRun => ({
    ...{
      job: "digits",
      run: 1,
      pid: process.pid,
      directory: "/nowhere",
      coordinator: "127.0.0.1:1",
      http: null,
      tls: null,
    },
    ...{ etcd: [], etcdPids: [], workers, spares: 0 },
  });
  await registerRun(run(0));
  const writing = Promise.all(Array.from({ length: 200 }, (_, i) => registerRun(run(i + 1))));
  let isWritten = false;
  void writing.finally(() => {
    isWritten = true;
  });
  let seen = 0;
  while (!isWritten) {
    const found = await readRun("digits");
    assert.ok(found, "a reader finds a record");
    assert.ok(found.workers >= seen, "an older record does not come back");
    seen = found.workers;
  }
  await writing;
  assert.equal((await readRun("digits"))?.workers, 200);
  const late = registerRun(run(201));
  await forgetRun("digits");
  await late;
  assert.equal(await readRun("digits"), null, "what is forgotten is not written once more");
});
