/** This project's own gRPC streams, each end against grpc-js or Node's HTTP/2: what is spoken is the protocol, not a dialect. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from "node:net";
import { test } from "node:test";
import {
  credentials,
  makeClientConstructor,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { type CallEnd, StreamingClient } from "../../src/adapters/grpc/client.ts";
import { type Handler, type ServerCall, StreamingServer } from "../../src/adapters/grpc/server.ts";
import { messagePrefix } from "../../src/adapters/grpc/messages.ts";
import { encodeFrame, FrameReader, flag, frameType } from "../../src/adapters/http2/frames.ts";
import { nearName } from "../../src/adapters/tls/near.ts";
import { plainText } from "../../src/adapters/tls/security.ts";
import { hostAndPort } from "../../src/core/addresses.ts";
import { RandomStream } from "../../src/core/random.ts";
import { heardRefusals } from "../fixtures/certificates.ts";
import { callWords } from "../fixtures/http2.ts";

const silenceMs = 600_000;
const anyPeer = { roles: [] };
const path = "/test/Stream";
const asIs = (bytes: Buffer) => bytes;
const service = {
  Stream: {
    ...{ path, requestStream: false, responseStream: true },
    ...{ requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs },
  },
};
const Client = makeClientConstructor(service, "test");
const options = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

/** Of all lengths that matter: none, shorter than a head, of a frame, of a window, and of several. */
const sizes = [0, 1, 4, 34, 35, 36, 16_384, 16_385, 65_535, 65_536, 100_000, 3_000_000, 7, 5_000_001];
const random = new RandomStream(5, "report");
const messages = sizes.map((size) => Buffer.from(Uint8Array.from({ length: size }, () => random.nextBelow(256))));

async function serving(handler: Handler): Promise<{ server: StreamingServer; address: string }> {
  const server = new StreamingServer(silenceMs, new Map([[path, handler]]), plainText(), anyPeer);
  return { server, address: await server.listen("127.0.0.1:0") };
}

/** All messages of a call, and how it ended. */
function received(client: StreamingClient, headBytes: number): Promise<{ got: Buffer[]; end: CallEnd }> {
  const got: Buffer[] = [];
  return new Promise((resolve) => {
    client.call(path, Buffer.from("please"), headBytes, {
      onAccepted: () => {},
      place: (_head, bytes) => new Uint8Array(bytes),
      arrived: (head, rest) => got.push(Buffer.concat([head, rest!])),
      onEnd: (end) => resolve({ got, end }),
    });
  });
}

test("grpc-js receives every message from this server, in order and through its small window", async () => {
  const requests: string[] = [];
  const { server, address } = await serving((call, request) => {
    requests.push(Buffer.from(request).toString());
    for (const message of messages) call.send(message.subarray(0, 3), message.subarray(3));
    call.end();
  });
  const client = new Client(address, credentials.createInsecure(), options);
  const got: Buffer[] = [];
  const call = client.makeServerStreamRequest(path, asIs, asIs, Buffer.from("please"));
  call.on("data", (message: Buffer) => got.push(message));
  await once(call, "end");
  assert.deepEqual(requests, ["please"]);
  assert.equal(got.length, messages.length);
  got.forEach((message, i) => {
    assert.ok(message.equals(messages[i]!), `message ${i}`);
  });
  client.close();
  await server.close();
});

test("this client receives every message from a grpc-js server, whatever part of it is its head", async () => {
  const server = new Server(options);
  server.addService(service, {
    Stream: (call: ServerWritableStream<Buffer, Buffer>) => {
      assert.equal(call.request.toString(), "please");
      for (const message of messages) call.write(message);
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  for (const headBytes of [0, 35]) {
    const client = new StreamingClient(`127.0.0.1:${port}`, silenceMs, null, anyPeer);
    const { got, end } = await received(client, headBytes);
    assert.deepEqual(end, { kind: "ended" });
    assert.equal(got.length, messages.length);
    got.forEach((message, i) => {
      assert.ok(message.equals(messages[i]!), `message ${i}`);
    });
    client.close();
  }
  server.forceShutdown();
});

test("a refusal arrives with its code and its words, before and after the first message, in both directions", async () => {
  const reason = "Ärger: 100 % voll, „bitte“ später\nnoch einmal";
  const { server, address } = await serving((call, request) => {
    if (Buffer.from(request).toString() === "late") call.send(new Uint8Array(0), messages[3]!);
    call.refuse(reason);
  });
  const theirs = new Client(address, credentials.createInsecure(), options);
  for (const word of ["early", "late"]) {
    const call = theirs.makeServerStreamRequest(path, asIs, asIs, Buffer.from(word));
    call.on("data", () => {});
    const [error] = (await once(call, "error")) as [ServiceError];
    assert.deepEqual([error.code, error.details], [9, reason]);
  }
  theirs.close();
  const ours = new StreamingClient(address, silenceMs, null, anyPeer);
  assert.deepEqual((await received(ours, 0)).end, { kind: "refused", code: 9, reason });
  ours.close();
  await server.close();
});

test("a method that is not there is refused as gRPC says", async () => {
  const server = new StreamingServer(silenceMs, new Map(), plainText(), anyPeer);
  const client = new Client(await server.listen("127.0.0.1:0"), credentials.createInsecure(), options);
  const call = client.makeServerStreamRequest(path, asIs, asIs, Buffer.from("please"));
  call.on("data", () => {});
  const [error] = (await once(call, "error")) as [ServiceError];
  assert.equal(error.code, 12);
  client.close();
  await server.close();
});

test("who cancels is noticed, and the connection serves the next call", async () => {
  let cancelled: () => void = () => {};
  const wasCancelled = new Promise<void>((resolve) => {
    cancelled = resolve;
  });
  let calls = 0;
  const { server, address } = await serving((call: ServerCall) => {
    if (calls++ > 0) return call.end();
    call.onCancelled(cancelled);
    call.send(new Uint8Array(0), messages[12]!);
  });
  const client = new StreamingClient(address, silenceMs, null, anyPeer);
  const first = client.call(path, new Uint8Array(0), 0, {
    onAccepted: () => {},
    place: () => null,
    arrived: () => first.cancel(),
    onEnd: () => assert.fail("who cancels hears no more"),
  });
  await wasCancelled;
  assert.deepEqual((await received(client, 0)).end, { kind: "ended" });
  client.close();
  await server.close();
});

test("padded frames are read", async () => {
  const server = createHttp2Server({ paddingStrategy: constants.PADDING_STRATEGY_MAX });
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": 0 }));
    for (const message of messages) {
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(message.length, 1);
      stream.write(prefix);
      stream.write(message);
    }
    stream.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = new StreamingClient(`127.0.0.1:${(server.address() as AddressInfo).port}`, silenceMs, null, anyPeer);
  const { got, end } = await received(client, 35);
  assert.deepEqual(end, { kind: "ended" });
  assert.ok(Buffer.concat(got).equals(Buffer.concat(messages)));
  client.close();
  server.close();
});

test("a server that answers nothing is given up, and so is one that speaks another protocol", async () => {
  for (const [answer, expected] of [
    ["", /silent for \d+ ms/],
    ["HTTP/1.1 400 Bad Request\r\n\r\n", /HTTP\/2/],
  ] as const) {
    const server: NetServer = createServer((socket) => {
      socket.on("error", () => {}); // it is cut off
      socket.resume();
      socket.write(answer);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = new StreamingClient(`127.0.0.1:${(server.address() as AddressInfo).port}`, 50, null, anyPeer);
    const { end } = await received(client, 0);
    assert.match(end.kind === "broken" ? end.reason : end.kind, expected);
    server.close();
  }
});

test("a client that is silent for too long is cut off, though it holds its connection", async () => {
  const server = new StreamingServer(50, new Map(), plainText(), anyPeer);
  const { host, port } = hostAndPort(await server.listen("127.0.0.1:0"));
  const socket = connect(port, host);
  socket.on("error", () => {}); // it is cut off
  socket.resume();
  await once(socket, "close");
  await server.close();
});

/** More than sockets hold. */
const long = { parts: 8, bytes: new Uint8Array(8 * 2 ** 20) };
const sendLong = (call: ServerCall): void => {
  for (let n = 0; n < long.parts; n++) call.send(new Uint8Array(0), long.bytes);
  call.end();
};

test("a ping is answered before the data that wait", { timeout: 60_000 }, async () => {
  const { server, address } = await serving((call) => sendLong(call));
  const socket = connect(Number(address.split(":")[1]), "127.0.0.1");
  for (const bytes of callWords(path, Buffer.from("please"))) socket.write(bytes);
  socket.write(encodeFrame(frameType.ping, 0, 0, new Uint8Array(8)));
  let dataBytes = 0;
  let before: number | null = null;
  const reader = new FrameReader(
    {
      onData: (_stream, bytes) => {
        dataBytes += bytes.byteLength;
      },
      roomFor: () => null,
      onRead: () => {},
      onDataEnd: () => {},
      onFrame: (type, flags) => {
        if (type === frameType.ping && flags & flag.ack) before = dataBytes;
      },
    },
    2 ** 24,
  );
  for await (const bytes of socket) {
    reader.feed(bytes as Buffer); // no encoding is set
    if (before !== null) break;
  }
  assert.ok(before !== null && before <= 32 * 2 ** 20, `${before} bytes of data came before the answer`);
  await server.close();
});

test("a short answer overtakes a long one on the same connection", { timeout: 60_000 }, async () => {
  const { server, address } = await serving((call, request) => {
    if (Buffer.from(request).toString() === "long") return sendLong(call);
    call.send(new Uint8Array(0), Buffer.from("short"));
    call.end();
  });
  const client = new StreamingClient(address, silenceMs, null, anyPeer);
  const heard: string[] = [];
  const answered = (word: string) =>
    new Promise<void>((resolve) => {
      client.call(path, Buffer.from(word), 0, {
        onAccepted: () => {},
        place: () => null,
        arrived: () => heard.push(word),
        onEnd: () => resolve(),
      });
    });
  await Promise.all([answered("long"), answered("short")]);
  assert.equal(heard.length, long.parts + 1);
  assert.notEqual(heard.at(-1), "short");
  client.close();
  await server.close();
});

test("what was cut off before it left is not said to be sent", { timeout: 60_000 }, async () => {
  let told = 0;
  const { server, address } = await serving((call) => {
    call.send(new Uint8Array(0), messages[3]!, () => told++);
    call.cutOff();
  });
  const client = new StreamingClient(address, silenceMs, null, anyPeer);
  const { end } = await received(client, 0);
  assert.equal(end.kind, "broken");
  client.close();
  await server.close(); // nothing can be told after it
  assert.equal(told, 0);
});

test("who sends nonsense, asks for too much, or never begins is cut off and counted; others are served", {
  timeout: 60_000,
}, async () => {
  const { told, refusals } = heardRefusals();
  const serve = async (silence: number) => {
    const security = { certificates: null, refusals };
    const server = new StreamingServer(silence, new Map([[path, (call) => call.end()]]), security, anyPeer);
    return { server, place: hostAndPort(await server.listen("127.0.0.1:0")) };
  };
  const [patient, hasty] = [await serve(silenceMs), await serve(100)];
  const cutOff = async (socket: Socket) => {
    socket.on("error", () => {}); // it is cut off
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
  };
  const nonsense = connect(patient.place);
  nonsense.write("GET / HTTP/1.1\r\n\r\n");
  await cutOff(nonsense);
  const large = connect(patient.place);
  for (const bytes of callWords(path, new Uint8Array(0)).slice(0, -1)) large.write(bytes);
  large.write(encodeFrame(frameType.data, 0, 1, messagePrefix(new Uint8Array(10), 70_000)));
  await cutOff(large);
  assert.deepEqual(Object.entries(refusals.counts), [["malformed HTTP/2 or request", 2]]);
  const slow = connect(hasty.place);
  let sent = 0;
  const drip = setInterval(() => slow.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[sent++] ?? "\x00"), 10);
  await cutOff(slow);
  clearInterval(drip);
  assert.equal(refusals.counts["no HTTP/2 in time"], 1);
  assert.deepEqual(
    told.map(({ from, count }) => [from, count]),
    [
      ["127.0.0.1", 1],
      ["127.0.0.1", 1],
    ],
  );
  const client = new StreamingClient(`127.0.0.1:${patient.place.port}`, silenceMs, null, anyPeer);
  assert.deepEqual((await received(client, 0)).end, { kind: "ended" });
  client.close();
  await Promise.all([patient.server.close(), hasty.server.close()]);
});

/** Connections by the shorter way to a server, as the system knows them. */
function nearConnections(address: string): number {
  const connected = "03";
  const lines = readFileSync("/proc/net/unix", "utf8").split("\n");
  const name = `@${nearName(address)!.slice(1)}`;
  return lines.filter((line) => line.endsWith(name) && line.split(" ")[5] === connected).length;
}

test("two ends on one machine talk by the shorter way, and by TCP where a proxy stands between", {
  skip: process.platform !== "linux" && "only Linux has sockets without files",
}, async () => {
  const { server, address } = await serving((call) => {
    for (const message of messages) call.send(new Uint8Array(0), message);
    call.end();
  });
  const { port } = hostAndPort(address);
  const proxied: Socket[] = [];
  const proxy = createServer((socket) => {
    const onward = connect({ host: "127.0.0.1", port });
    proxied.push(socket, onward);
    socket.pipe(onward).pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const proxyAddress = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  for (const [at, near] of [
    [address, 1],
    [proxyAddress, 0],
  ] as const) {
    const client = new StreamingClient(at, silenceMs, null, anyPeer);
    const { got, end } = await received(client, 0);
    assert.equal(end.kind, "ended");
    for (const [i, message] of got.entries()) assert.ok(message.equals(messages[i]!), `message ${i}`);
    assert.equal(nearConnections(address), near, at);
    client.close();
  }
  assert.equal(proxied.length, 2);
  for (const socket of proxied) socket.destroy();
  proxy.close();
  await server.close();
  assert.equal(nearConnections(address), 0);
});

test("a client that is closed before it is connected leaves no connection", async () => {
  const { server, address } = await serving((call) => call.end());
  const client = new StreamingClient(address, silenceMs, null, anyPeer);
  const ended = received(client, 0);
  client.close();
  assert.deepEqual((await ended).end, { kind: "broken", reason: "this connection was closed" });
  const next = new StreamingClient(address, silenceMs, null, anyPeer);
  await received(next, 0);
  if (process.platform === "linux") assert.equal(nearConnections(address), 1, "of the next one");
  next.close();
  await server.close();
});

test("a server does not come up where somebody else would be asked in its place", {
  skip: process.platform !== "linux" && "only Linux has sockets without files",
}, async () => {
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const address = `127.0.0.1:${(free.address() as AddressInfo).port}`;
  const squatter = createServer().listen({ path: nearName(address)! });
  await once(squatter, "listening");
  free.close();
  await once(free, "close");
  const server = new StreamingServer(silenceMs, new Map(), plainText(), anyPeer);
  await assert.rejects(server.listen(address), { code: "address-unavailable" });
  squatter.close();
  await server.close();
});
