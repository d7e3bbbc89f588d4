import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { tcpLiveness } from "../../src/adapters/system/liveness.ts";
import { goneAmong } from "../../src/runtime/gone-members.ts";

const liveness = tcpLiveness(systemClock, null);

async function listening(): Promise<{ address: string; close: () => Promise<void> }> {
  const server: Server = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    address: `127.0.0.1:${address.port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

test("of several members those are gone whose addresses refuse; one that accepts is not", {
  timeout: 20_000,
}, async () => {
  const [dead, alive] = await Promise.all([listening(), listening()]);
  await dead.close();
  const members = [
    { workerId: "dead", address: dead.address },
    { workerId: "alive", address: alive.address },
  ];
  assert.deepEqual(await goneAmong(members, liveness, systemClock, 1000), ["dead"]);
  await alive.close();
});

test("when all are gone nobody waits for the limit", { timeout: 20_000 }, async () => {
  const dead = await listening();
  await dead.close();
  const members = ["a", "b"].map((workerId) => ({ workerId, address: dead.address }));
  const gone = await goneAmong(members, liveness, systemClock, 600_000);
  assert.deepEqual([...gone].sort(), ["a", "b"]);
});
