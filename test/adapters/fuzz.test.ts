/**
 * Whatever comes, over the network or from a disk, is read or refused: by an error that is meant for it, and never by one of
 * this program's own. A failure is repeated by the seed that the test prints.
 */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { MessageReader, messagePrefix } from "../../src/adapters/grpc/messages.ts";
import { checkpointsService, collectiveService, controlService } from "../../src/adapters/grpc/services.ts";
import { Http2Connection } from "../../src/adapters/http2/connection.ts";
import { encodeFrame, encodeNumber, encodeSettings, FrameReader, frameType } from "../../src/adapters/http2/frames.ts";
import { encodeHeaders, HeaderDecoder } from "../../src/adapters/http2/hpack.ts";
import { type ErrorCode, LockstepError } from "../../src/core/errors.ts";
import { decodeHeader as decodeFrame, encodeHeader as encodeFrameHeader } from "../../src/core/frame.ts";
import { identityIn, identityOf, identityUri } from "../../src/core/identity.ts";
import { validateJob } from "../../src/core/job-validation.ts";
import { manifestProblem, parseManifest, serializeManifest } from "../../src/core/manifest.ts";
import {
  decodeHeader as decodeTensors,
  decodeHeaderSize,
  encodeHeader as encodeTensors,
} from "../../src/core/safetensors.ts";
import { csv, jsonLines, oneHot, scale } from "../../src/index.ts";
import { decodeCsv, decodeJsonLines } from "../fixtures/byte-source.ts";
import { Fuzz } from "../fixtures/fuzz.ts";
import { callWords } from "../fixtures/http2.ts";
import { manifestSample } from "../fixtures/manifest.ts";

const inputs = 100_000;
// Hundreds of thousands of errors are made here, and nobody reads where.
Error.stackTraceLimit = 0;
const limit = { timeout: 300_000 };
const text = new TextEncoder();
const junk: readonly unknown[] = [
  ...[null, true, -1, 0, 0.5, 7, 1e9, 1e308, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -0],
  ...[
    "",
    "x",
    "adam",
    "float32",
    "../..",
    "\u0000",
    "a".repeat(2000),
    [],
    {},
    [[]],
    [1, "2"],
    { kind: "adam" },
    { x: null },
  ],
];

/** Reads so many inputs; each is read, or refused with one of these codes. Both have to happen. */
function readAll(context: TestContext, codes: readonly ErrorCode[], read: (fuzz: Fuzz) => void): void {
  const fuzz = Fuzz.begin(context);
  let refused = 0;
  for (let n = 0; n < inputs; n++) {
    try {
      read(fuzz);
    } catch (error) {
      const isMeant = error instanceof LockstepError && codes.includes(error.code);
      if (!isMeant) throw new Error(`input ${n} is neither read nor refused`, { cause: error });
      refused++;
    }
  }
  assert.ok(refused > inputs / 100 && refused < inputs, `${refused} of ${inputs} were refused`);
}

/** The same of what takes a while to be read. */
async function readAllInTurn(
  context: TestContext,
  codes: readonly ErrorCode[],
  read: (fuzz: Fuzz) => Promise<void>,
): Promise<void> {
  const fuzz = Fuzz.begin(context);
  let refused = 0;
  for (let n = 0; n < inputs; n++) {
    try {
      await read(fuzz);
    } catch (error) {
      const isMeant = error instanceof LockstepError && codes.includes(error.code);
      if (!isMeant) throw new Error(`input ${n} is neither read nor refused`, { cause: error });
      refused++;
    }
  }
  assert.ok(refused > inputs / 100 && refused < inputs, `${refused} of ${inputs} were refused`);
}

test("the header of a frame", limit, (context) => {
  const samples = (["partial", "total"] as const).map((kind) =>
    encodeFrameHeader(
      { kind, generation: 3, round: { step: 41, pass: 0 }, bucket: 2, node: { begin: 4, end: 8 }, rank: 1 },
      4,
    ),
  );
  readAll(context, ["incompatible"], (fuzz) => decodeFrame(fuzz.input(samples), fuzz.pick([0, 4, 4, 4, 2 ** 32])));
});

test("HTTP/2's frames, in parts of any length", limit, (context) => {
  const samples = callWords("/a", new Uint8Array(20)).slice(1);
  const ignored = { onData() {}, roomFor: () => null, onRead() {}, onDataEnd() {}, onFrame() {} };
  readAll(context, ["incompatible"], (fuzz) => {
    const reader = new FrameReader(ignored, 16_384);
    const bytes = fuzz.input(samples);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + fuzz.below(24);
      reader.feed(bytes.subarray(at, end));
      at = end;
    }
  });
});

test("HTTP/2's headers", limit, (context) => {
  const samples = [
    encodeHeaders([
      [":path", "/lockstep.v1.Collective/Subscribe"],
      ["te", "trailers"],
    ]),
    new Uint8Array(Buffer.from("828684418cf1e3c2e5f23a6ba0ab90f4ff", "hex")),
    new Uint8Array(Buffer.from("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", "hex")),
  ];
  let decoder = new HeaderDecoder();
  readAll(context, ["incompatible"], (fuzz) => {
    // What was kept of the last ones counts too.
    if (fuzz.below(8) === 0) decoder = new HeaderDecoder();
    decoder.decode(fuzz.input(samples));
  });
});

test("gRPC's messages", limit, (context) => {
  const samples = [
    messagePrefix(new Uint8Array(35), 0),
    Buffer.concat([messagePrefix(new Uint8Array(3), 9), new Uint8Array(9)]),
  ];
  readAll(context, ["incompatible"], (fuzz) => {
    let room = 0;
    const reader = new MessageReader(
      fuzz.pick([0, 35]),
      {
        place(_head, bytes) {
          room = Math.max(room, bytes);
          return new Uint8Array(bytes);
        },
        arrived() {},
      },
      65_536,
    );
    reader.feed(fuzz.input(samples));
    assert.ok(room <= 65_536, `${room} bytes were made room for`);
  });
});

test("a whole connection, from its first byte: it is read, or ended for a reason", limit, async (context) => {
  const fuzz = Fuzz.begin(context);
  const [preface, ...frames] = callWords("/a", new Uint8Array(20));
  const others = [
    encodeFrame(frameType.ping, 0, 0, new Uint8Array(8)),
    encodeNumber(frameType.reset, 1, 8),
    encodeSettings([
      [4, 1000],
      [5, 20_000],
    ]),
    encodeFrame(frameType.continuation, 4, 1, encodeHeaders([["a", "b"]])),
  ];
  const connections = inputs / 5;
  let ended = 0;
  let called = 0;
  for (let n = 0; n < connections; n++) {
    const socket = deafSocket();
    let why: string | null = null;
    const connection = new Http2Connection({
      ...{ isServer: true, silenceMs: 600_000 },
      onStream: () => void called++,
      onMalformed: (reason) => {
        why = reason;
      },
    });
    connection.attach(socket);
    if (fuzz.below(16) > 0) socket.emit("data", preface);
    for (const sample of frames) {
      const bytes = fuzz.below(3) === 0 ? fuzz.input([sample, ...others]) : sample;
      if (!connection.isClosed && bytes.length > 0) socket.emit("data", Buffer.from(bytes));
    }
    if (why !== null) {
      ended++;
      assert.match(why, /^(A peer sent |The headers that a peer sent are refused: )/, `connection ${n}`);
    }
    connection.destroy("the test is over");
    // What is written in one turn is kept to its end.
    if (n % 100 === 0) await new Promise(setImmediate);
  }
  assert.ok(ended > connections / 100 && ended < connections, `${ended} of ${connections} were ended`);
  assert.ok(called > connections / 100, `${called} calls came through`);
});

test("protobuf's messages, of every method that is called over the network", limit, (context) => {
  const { Subscribe, CopyState } = collectiveService;
  const { ReportProgress, Stop } = controlService;
  const { Keep, Fetch } = checkpointsService;
  const decoders = [
    [
      Subscribe.requestDeserialize,
      Subscribe.requestSerialize({
        generation: 3,
        rank: 1,
        workerId: "a.1",
        expectedWorkerId: "b.1",
        observer: true,
        address: "127.0.0.1:1",
      }),
    ],
    [CopyState.requestDeserialize, CopyState.requestSerialize({ generation: 3, step: 77, anyStep: true })],
    [
      ReportProgress.requestDeserialize,
      ReportProgress.requestSerialize({
        workerId: "a.1",
        generation: 1,
        epoch: 2,
        step: 3,
        stepInEpoch: 1,
        samplesPerSecond: 1.5,
        metrics: { loss: 1 },
        leaseHeld: true,
      }),
    ],
    [Stop.requestDeserialize, Stop.requestSerialize({ reason: "enough" })],
    [
      Keep.requestDeserialize,
      Keep.requestSerialize({ run: "a/1", id: "x", manifestSha256: "00", address: "a:1", era: 1, fencingToken: 7 }),
    ],
    [Fetch.requestDeserialize, Fetch.requestSerialize({ run: "a/1", id: "x", file: "manifest.json" })],
  ] as const;
  const samples = decoders.map(([, bytes]) => new Uint8Array(bytes));
  const fuzz = Fuzz.begin(context);
  let refused = 0;
  for (let n = 0; n < inputs; n++) {
    const [decode] = fuzz.pick(decoders);
    try {
      const fields = Object.values(decode(Buffer.from(fuzz.input(samples))) as object);
      assert.ok(
        fields.every((value) => ["string", "number", "boolean", "object"].includes(typeof value)),
        `message ${n}`,
      );
    } catch (error) {
      // protobufjs has no errors of its own: a range that is left, or a plain one with a sentence.
      const isMeant = error instanceof RangeError || (error instanceof Error && error.constructor === Error);
      if (!isMeant) throw new Error(`message ${n} is neither read nor refused`, { cause: error });
      refused++;
    }
  }
  assert.ok(refused > inputs / 100 && refused < inputs, `${refused} of ${inputs} were refused`);
});

test("a checkpoint's manifest, as text and by its fields", limit, (context) => {
  const samples = [text.encode(serializeManifest(manifestSample))];
  const decoder = new TextDecoder();
  readAll(context, ["corrupt-checkpoint", "incompatible"], (fuzz) => {
    // A damaged text nearly always ends at its checksum; the fields are looked at behind it.
    if (fuzz.below(2) === 0) return void parseManifest(decoder.decode(fuzz.input(samples)));
    const value = fuzz.value(manifestSample, junk);
    if (typeof value === "object" && value !== null) manifestProblem(value);
  });
});

test("the header of a safetensors file, and its length", limit, (context) => {
  const described = {
    __metadata__: { note: "a" },
    a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
    b: { dtype: "F32", shape: [], data_offsets: [24, 28] },
  };
  const whole = encodeTensors(
    [
      { name: "a", shape: [2, 3] },
      { name: "b", shape: [] },
    ],
    { note: "a" },
  );
  const samples = [whole.subarray(8)];
  readAll(context, ["corrupt-checkpoint", "incompatible"], (fuzz) => {
    decodeHeaderSize(
      fuzz.below(4) === 0 ? fuzz.input([whole.subarray(0, 8)]) : whole.subarray(0, 8),
      28 + whole.length,
    );
    const header = fuzz.below(2) === 0 ? fuzz.input(samples) : text.encode(JSON.stringify(fuzz.value(described, junk)));
    decodeTensors(header, fuzz.pick([28, 28, 28, 0, 24]));
  });
});

test("the values of a job file", limit, (context) => {
  const job = {
    name: "digits",
    seed: 7,
    data: csv("digits.csv", { label: "Class" }),
    preprocess: { features: [scale(1 / 16)], label: oneHot(10) },
    validation: { fraction: 0.2 },
    model: () => null,
    compile: {
      optimizer: { kind: "adam", learningRate: { kind: "cosine", initial: 0.1, final: 0.01, warmup: { epochs: 1 } } },
      loss: "categoricalCrossentropy",
      metrics: ["accuracy"],
      clip: { globalNorm: 1 },
    },
    checkpoint: { monitor: "val_loss", mode: "min", keep: { last: 2, best: 1 }, earlyStopping: { patience: 3 } },
    batchSize: 128,
    epochs: 40,
    wire: "bfloat16",
  };
  validateJob(job);
  readAll(context, ["invalid-job"], (fuzz) => void validateJob(fuzz.value(job, junk)));
});

test(
  "tables: CSV and JSON lines with numbers, categories, texts, quotes and what is missing",
  limit,
  async (context) => {
    const kinds = { city: "category", text: { kind: "words", length: 3 }, y: "category" } as const;
    const rules = { label: "y", columns: kinds, missing: ["", "NA"] };
    const table = csv("t", rules);
    const lines = jsonLines({ path: "t", features: ["age", "city", "text"], ...rules });
    const tables = ['age,city,text,y\n31,Rome,"Good, ""very""\r\ngood",yes\nNA,Paris,,no\n1e3,,x,no\n'].map((t) =>
      text.encode(t),
    );
    const objects = ['{"age":31,"city":"Rome","text":"a b","y":true}\n{"age":null,"city":"x","y":0,"text":""}\n'].map(
      (t) => text.encode(t),
    );
    const dictionaries = { city: ["Paris", "Rome"], text: ["good"], y: ["no", "yes"] };
    await readAllInTurn(context, ["invalid-data"], async (fuzz) => {
      const known = fuzz.below(2) === 0 ? {} : { dictionaries };
      const isTable = fuzz.below(2) === 0;
      const bytes = Buffer.from(fuzz.input(isTable ? tables : objects));
      const decode = isTable ? decodeCsv("t", bytes, table, known) : decodeJsonLines("t", bytes, lines, known);
      const data = await decode;
      const { features } = data.read([data.length - 1]);
      assert.equal(
        features.length,
        data.features.shape.reduce((size, side) => size * side, 1),
      );
      // A code is in its dictionary, unless it is −1 or nothing.
      let at = 0;
      for (const { shape, texts } of data.columns.features) {
        const end = at + (shape[0] ?? 1);
        for (const code of texts === undefined ? [] : features.subarray(at, end)) {
          assert.ok(Number.isNaN(code) || code === -1 || texts![code] !== undefined, String(code));
        }
        at = end;
      }
    });
  },
);

test("the names in a certificate", limit, (context) => {
  const samples = [
    "DNS:localhost, URI:spiffe://lockstep/job/digits/worker/a, IP Address:127.0.0.1",
    'URI:"spiffe://lockstep/operator/a\\"", DNS:"b, URI:c"',
  ].map((names) => text.encode(names));
  const decoder = new TextDecoder();
  const fuzz = Fuzz.begin(context);
  let known = 0;
  for (let n = 0; n < inputs; n++) {
    const names = decoder.decode(fuzz.input(samples));
    const identity = identityIn(names);
    if (identity === null) continue;
    known++;
    assert.ok(names.includes(`URI:${identityUri(identity)}`), names);
    assert.deepEqual(identityOf(identityUri(identity)), identity);
  }
  assert.ok(known > inputs / 100 && known < inputs, `${known} of ${inputs} named somebody`);
});

test("who asks on and on, and takes no answers, is ended before they fill the memory", () => {
  const socket = deafSocket();
  let why: string | null = null;
  const connection = new Http2Connection({
    ...{ isServer: true, silenceMs: 600_000 },
    onMalformed: (reason) => {
      why = reason;
    },
  });
  connection.attach(socket);
  const [preface] = callWords("/a", new Uint8Array(0));
  const ping = Buffer.from(encodeFrame(frameType.ping, 0, 0, new Uint8Array(8)));
  socket.emit("data", preface);
  socket.emit("data", ping);
  assert.ok(!connection.isClosed);
  Object.assign(socket, { writableLength: 64 * 2 ** 20 });
  socket.emit("data", ping);
  assert.match(why ?? "", /more frames than answers can leave/);
});

/** A socket that takes everything and says nothing. */
function deafSocket(): Socket {
  const nothing = () => {};
  const calls = {
    write: () => true,
    cork: nothing,
    uncork: nothing,
    destroy: nothing,
    setNoDelay: nothing,
    writableLength: 0,
  };
  return Object.assign(new EventEmitter(), calls) as unknown as Socket; // all that a connection asks of it
}
