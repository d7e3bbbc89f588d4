import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { openTransport } from "../../src/adapters/grpc/transport.ts";
import type { Transport } from "../../src/ports/transport.ts";
import { transportContract } from "./transport.contract.ts";

// So long that whatever comes at once cannot be the end of this time.
const connectMs = 600_000;
const open = () => openTransport({ listen: "127.0.0.1:0", connectMs });

transportContract("gRPC", async () => ({
  open,
  deadAddress: unusedAddress,
  close: async () => {},
}));

test("whoever listens at the address of a peer that is gone is reached at once, though that one has just refused", {
  timeout: 30_000,
}, async () => {
  const [one, two] = [await open(), await open()];
  const addresses = [one.address, two.address];
  const joined = (transport: Transport, generation: number, rank: number) =>
    new Promise<"open" | "broken">((resolve) => {
      const membership = { generation, rank, address: addresses[rank]!, addresses, workerIds: ["a", "b"] };
      const events = { onOpen: () => resolve("open"), onMessage: () => {}, onBroken: () => resolve("broken") };
      transport.join(membership, events);
    });
  assert.deepEqual(await Promise.all([joined(one, 1, 0), joined(two, 1, 1)]), ["open", "open"]);
  await two.close();
  assert.equal(await joined(one, 2, 0), "broken");
  // gRPC would not try that connection again before a pause.
  const three = await openTransport({ listen: two.address, connectMs });
  assert.deepEqual(await Promise.all([joined(one, 3, 0), joined(three, 3, 1)]), ["open", "open"]);
  await Promise.all([one.close(), three.close()]);
});

/** An address that was bound a moment ago, and is not any more. */
function unusedAddress(): Promise<string> {
  const server = createServer();
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(`127.0.0.1:${port}`));
    }),
  );
}
