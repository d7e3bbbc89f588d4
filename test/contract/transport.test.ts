import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { collectiveService } from "../../src/adapters/grpc/services.ts";
import { openTransport } from "../../src/adapters/grpc/transport.ts";
import { plainText } from "../../src/adapters/tls/security.ts";
import { FrameReader, frameType } from "../../src/adapters/http2/frames.ts";
import { HeaderDecoder } from "../../src/adapters/http2/hpack.ts";
import { headerBytes } from "../../src/core/frame.ts";
import { bucketBytes } from "../../src/core/limits.ts";
import type { Transport } from "../../src/ports/transport.ts";
import { securityWith, TestCertificates } from "../fixtures/certificates.ts";
import { callWords } from "../fixtures/http2.ts";
import { transportContract } from "./transport.contract.ts";

// So long that whatever comes at once cannot be the end of this time.
const connectMs = 600_000;
const subscription = { generation: 1, rank: 1, workerId: "b", expectedWorkerId: "a" };
const subscribing = (request: Parameters<typeof collectiveService.Subscribe.requestSerialize>[0]) =>
  callWords(collectiveService.Subscribe.path, collectiveService.Subscribe.requestSerialize(request));
const open = () => openTransport({ listen: "127.0.0.1:0", connectMs, security: plainText() });

transportContract("gRPC", async () => ({
  open,
  deadAddress: unusedAddress,
  close: async () => {},
}));

transportContract("gRPC over TLS", async () => {
  const certificates = await TestCertificates.make();
  return {
    async open(name) {
      const security = securityWith(await certificates.open("worker", name));
      return openTransport({ listen: "127.0.0.1:0", connectMs, security });
    },
    deadAddress: unusedAddress,
    close: () => certificates.remove(),
  };
});

test("whoever listens at the address of a peer that is gone is reached at once, though that one has just refused", {
  timeout: 30_000,
}, async () => {
  const [one, two] = [await open(), await open()];
  const addresses = [one.address, two.address];
  const joined = (transport: Transport, generation: number, rank: number) =>
    new Promise<"open" | "broken">((resolve) => {
      const membership = { generation, rank, address: addresses[rank]!, addresses, workerIds: ["a", "b"] };
      const ignored = { roundBytes: 0, place: () => null, onMessage: () => {} };
      const events = { ...ignored, onOpen: () => resolve("open"), onBroken: () => resolve("broken") };
      transport.join(membership, events);
    });
  assert.deepEqual(await Promise.all([joined(one, 1, 0), joined(two, 1, 1)]), ["open", "open"]);
  await two.close();
  assert.equal(await joined(one, 2, 0), "broken");
  // gRPC would not try that connection again before a pause.
  const three = await openTransport({ listen: two.address, connectMs, security: plainText() });
  assert.deepEqual(await Promise.all([joined(one, 3, 0), joined(three, 3, 1)]), ["open", "open"]);
  await Promise.all([one.close(), three.close()]);
});

test("what is still on its way to one who is no member any more is not read from memory that is used again", {
  timeout: 60_000,
}, async () => {
  const one = await open();
  const dead = await unusedAddress();
  const addresses = [one.address, dead];
  const { port, hostname } = new URL(`tcp://${one.address}`);
  const events = { roundBytes: 0, place: () => null, onMessage: () => {}, onOpen: () => {}, onBroken: () => {} };
  const membership = { generation: 1, rank: 0, address: one.address, addresses, workerIds: ["a", "b"] };
  const streams = one.join(membership, events);
  // A peer that subscribes, and then reads nothing.
  const peer = connect(Number(port), hostname);
  peer.on("error", () => {}); // it is cut off
  for (const bytes of subscribing(subscription)) peer.write(bytes);
  const payload = new Uint8Array(8 * 2 ** 20).fill(1);
  for (let n = 0; n < 8; n++) streams.send(1, new Uint8Array(headerBytes), payload);
  // The payloads are on their way.
  let received = 0;
  while (received < 100_000) {
    await once(peer, "readable");
    received += (peer.read() as Buffer | null)?.length ?? 0; // no encoding is set
  }
  streams.close();
  one.join({ ...membership, generation: 2, addresses: [one.address], workerIds: ["a"] }, events).close();
  payload.fill(2);
  let changed = 0;
  peer.on("data", (bytes: Buffer) => {
    received += bytes.length;
    for (const byte of bytes) if (byte === 2) changed++;
  });
  await once(peer, "close");
  assert.ok(received > 0 && received < 8 * payload.length, `${received} bytes had left`);
  assert.ok(changed < 100, `${changed} bytes were sent after they had changed`); // headers have such bytes too
  await one.close();
});

/** Subscribes an observer that reads nothing while 100 totals of a bucket are sent, all in one turn. */
async function observed(roundBytes: number) {
  const [member, home] = [await open(), await open()];
  const events = { roundBytes, place: () => null, onMessage: () => {}, onOpen: () => {}, onBroken: () => {} };
  const membership = { generation: 1, rank: 0, address: member.address, addresses: [member.address], workerIds: ["a"] };
  const streams = member.join(membership, events);
  const { port, hostname } = new URL(`tcp://${member.address}`);
  const observer = connect(Number(port), hostname);
  const request = { generation: 1, observer: true, address: home.address, expectedWorkerId: "a" };
  for (const bytes of subscribing(request)) observer.write(bytes);
  let dataBytes = 0;
  let accepted: () => void = () => {};
  let refused: (reason: string) => void = () => {};
  const isAccepted = new Promise<void>((resolve) => {
    accepted = resolve;
  });
  const refusal = new Promise<string>((resolve) => {
    refused = resolve;
  });
  const decoder = new HeaderDecoder();
  const reader = new FrameReader(
    {
      onData: (_stream, bytes) => {
        dataBytes += bytes.byteLength;
      },
      roomFor: () => null,
      onRead: () => {},
      onDataEnd: () => {},
      onFrame: (type, _flags, _stream, payload) => {
        if (type !== frameType.headers) return;
        const message = decoder.decode(payload).find(([name]) => name === "grpc-message");
        if (message) refused(decodeURI(message[1]));
        else accepted();
      },
    },
    2 ** 24,
  );
  observer.on("data", (bytes: Buffer) => reader.feed(bytes));
  await isAccepted;
  // It reads nothing in between: all is said in one turn.
  let copies = 0;
  for (let n = 0; n < 100; n++) {
    const payload = new Uint8Array(bucketBytes);
    const slice = payload.slice.bind(payload);
    payload.slice = (...range) => {
      copies++;
      return slice(...range);
    };
    streams.sendAll(new Uint8Array(headerBytes), payload);
  }
  const end = async () => {
    observer.destroy();
    await Promise.all([member.close(), home.close()]);
  };
  return { refusal, copies: () => copies, dataBytes: () => dataBytes, end };
}

test("an observer that reads too slowly is given up: what waits for it is dropped, and nothing is kept for it any more", {
  timeout: 60_000,
}, async () => {
  const { refusal, copies, dataBytes, end } = await observed(0);
  assert.match(await refusal, /falls 268 MB behind/);
  assert.ok(dataBytes() < 20 * 2 ** 20, `${dataBytes()} bytes were sent to it`);
  assert.equal(copies(), 65, "the last one showed that it is too slow");
  await end();
});

test("an observer is not given up for the totals of one large round, which are sent all at once", {
  timeout: 60_000,
}, async () => {
  const { refusal, copies, dataBytes, end } = await observed(100 * bucketBytes);
  assert.equal(copies(), 100);
  let isRefused = false;
  void refusal.then(() => {
    isRefused = true;
  });
  while (dataBytes() === 0 && !isRefused) await new Promise(setImmediate);
  assert.equal(isRefused, false);
  await end();
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
