import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { tcpLiveness } from "../../src/adapters/system/liveness.ts";

const limit = { timeout: 30_000 };
const liveness = tcpLiveness(systemClock, null);

/** A process that listens, as far as its address can tell. */
async function listening() {
  const server = createServer();
  const sockets: Socket[] = [];
  let onSocket = () => {};
  server.on("connection", (socket) => {
    sockets.push(socket);
    onSocket();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    connected: (count: number) =>
      new Promise<void>((resolve) => {
        onSocket = () => sockets.length >= count && resolve();
        onSocket();
      }),
    endConnections: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    end: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

test(
  "a process is gone when its connection ends and its address refuses; a connection that ends is no proof",
  limit,
  async () => {
    const server = await listening();
    let gone = false;
    const said = new Promise<void>((resolve) => {
      liveness.watch(server.address, () => {
        gone = true;
        resolve();
      });
    });
    await server.connected(1);
    server.endConnections();
    await server.connected(2);
    assert.equal(gone, false);
    server.end();
    await said;
  },
);

test("a process whose address refuses from the beginning is gone", limit, async () => {
  const server = await listening();
  server.end();
  await new Promise<void>((resolve) => liveness.watch(server.address, resolve));
});

test("a watch that was closed says nothing more", limit, async () => {
  const server = await listening();
  const watch = liveness.watch(server.address, () => assert.fail("it was closed"));
  await server.connected(1);
  watch.close();
  const other = new Promise<void>((resolve) => liveness.watch(server.address, resolve));
  await server.connected(2);
  server.end();
  await other;
});
