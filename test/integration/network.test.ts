import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { Network, type NetworkProxy } from "../../src/cli/gameday/network.ts";

const limit = { timeout: 20_000 };

describe("gameday's network", () => {
  const network = new Network(() => new Map([[process.pid, "here"]]));
  let echo: Server;
  let proxy: NetworkProxy;
  before(async () => {
    echo = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
    const { port } = echo.address() as AddressInfo; // it listens on TCP
    proxy = await network.open("there", "here", `127.0.0.1:${port}`);
  });
  after(async () => {
    network.heal();
    await network.close();
    await new Promise((resolve) => echo.close(resolve));
  });

  test("what is sent comes through, both ways", limit, async () => {
    const socket = await call(proxy.address);
    assert.equal(await answer(socket, "hello"), "hello");
    socket.destroy();
  });

  for (const [from, to] of [
    ["here", "there"],
    ["there", "here"],
  ] as const) {
    test(`a cut from ${from} to ${to} swallows and tells nobody; healed, what lost bytes ends`, limit, async () => {
      const socket = await call(proxy.address);
      assert.equal(await answer(socket, "before"), "before");
      network.cut(from, to);
      const swallowed = network.swallowed;
      let heard = "";
      socket.on("data", (bytes) => {
        heard += bytes;
      });
      socket.write("lost");
      while (network.swallowed === swallowed) await systemClock.sleep(5);
      assert.deepEqual([heard, socket.destroyed], ["", false]);
      const closed = new Promise((resolve) => socket.once("close", resolve));
      network.heal();
      await closed;
      const again = await call(proxy.address);
      assert.equal(await answer(again, "after"), "after");
      again.destroy();
    });
  }

  test("callers of one address are told apart by their processes", {
    ...limit,
    skip: process.platform !== "linux",
  }, async () => {
    const { port } = echo.address() as AddressInfo; // it listens on TCP
    const shared = await network.open("there", null, `127.0.0.1:${port}`);
    network.cut("here", "there");
    const socket = await call(shared.address);
    const swallowed = network.swallowed;
    socket.write("lost");
    while (network.swallowed === swallowed) await systemClock.sleep(5);
    network.heal();
    socket.destroy();
  });

  test("a proxy that leads nowhere refuses, and listens again at the same address", limit, async () => {
    const { port } = echo.address() as AddressInfo; // it listens on TCP
    const later = await network.open("there", "here", null);
    await assert.rejects(call(later.address), { code: "ECONNREFUSED" });
    later.lead(`127.0.0.1:${port}`);
    const socket = await call(later.address);
    assert.equal(await answer(socket, "here I am"), "here I am");
    later.lead(null);
    socket.destroy();
    await assert.rejects(call(later.address), { code: "ECONNREFUSED" });
  });
});

function call(address: string): Promise<Socket> {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => resolve(socket));
    socket.once("error", reject);
  });
}

function answer(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve) => {
    socket.once("data", (bytes) => resolve(String(bytes)));
    socket.write(text);
  });
}
