import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { decodeHeader, encodeHeader, type FrameHeader, headerBytes } from "../../src/core/frame.ts";
import { maxGenerations, maxShards, maxWorkers } from "../../src/core/limits.ts";

const example: FrameHeader = {
  kind: "partial",
  generation: 3,
  round: { step: 41, pass: 0 },
  bucket: 2,
  node: { begin: 4, end: 8 },
  rank: 1,
};

const extremes: readonly FrameHeader[] = [
  { kind: "partial", generation: 1, round: { step: 0, pass: 0 }, bucket: 0, node: { begin: 0, end: 1 }, rank: 0 },
  {
    kind: "total",
    generation: maxGenerations,
    round: { step: Number.MAX_SAFE_INTEGER, pass: 1 },
    bucket: 0xffff_ffff,
    node: { begin: maxShards - 1, end: maxShards },
    rank: maxWorkers - 1,
  },
];

function refused(bytes: Uint8Array, payloadBytes = 4): boolean {
  try {
    decodeHeader(bytes, payloadBytes);
    return false;
  } catch (error) {
    // Anything but this code would end the worker instead of the stream.
    assert.ok(error instanceof LockstepError && error.code === "incompatible", String(error));
    return true;
  }
}

test("what was encoded is what is decoded: every header at its bounds, and payloads of every length", () => {
  for (const header of [example, ...extremes]) {
    for (const length of [0, 1, 3, 8, 1000, 0xffff_ffff]) {
      assert.deepEqual(decodeHeader(encodeHeader(header, length), length), header);
    }
  }
});

test("a header is read where it lies in a larger buffer", () => {
  const buffer = new Uint8Array(headerBytes + 10);
  buffer.set(encodeHeader(example, 3), 5);
  assert.deepEqual(decodeHeader(buffer.subarray(5, 5 + headerBytes), 3), example);
});

test("behind gRPC's 5 bytes the numbers lie where a Float64Array can be laid over them", () => {
  assert.equal((5 + headerBytes) % Float64Array.BYTES_PER_ELEMENT, 0);
});

test("a frame that is cut short or goes on is refused, at every length", () => {
  const header = encodeHeader(example, 4);
  for (let length = 0; length < header.byteLength; length++)
    assert.ok(refused(header.subarray(0, length)), `${length}`);
  for (const payloadBytes of [0, 3, 5, 2 ** 32 + 4]) assert.ok(refused(header, payloadBytes), `${payloadBytes}`);
  assert.ok(!refused(header));
});

test("no changed byte of the header's fields passes for the same frame: it is refused, or says something else", () => {
  const header = encodeHeader(example, 4);
  const fieldBytes = 32;
  for (let at = 0; at < fieldBytes; at++) {
    for (let change = 1; change < 256; change++) {
      const changed = header.slice();
      changed[at]! ^= change;
      if (refused(changed)) continue;
      assert.notDeepEqual(decodeHeader(changed, 4), example, `byte ${at} changed by ${change}`);
    }
  }
});

test("a header that no worker can have written is refused", () => {
  const impossible: readonly [string, Partial<FrameHeader>][] = [
    ["generation 0", { generation: 0 }],
    ["an empty node", { node: { begin: 4, end: 4 } }],
    ["a node backwards", { node: { begin: 5, end: 4 } }],
    ["a node beyond the shards", { node: { begin: 0, end: maxShards + 1 } }],
    ["a rank beyond the workers", { rank: maxWorkers }],
    ["a negative step", { round: { step: -1, pass: 0 } }],
    ["half a step", { round: { step: 0.5, pass: 0 } }],
    ["a step that is no number", { round: { step: Number.NaN, pass: 0 } }],
    ["a step too large to count on", { round: { step: 2 ** 53, pass: 0 } }],
  ];
  for (const [what, wrong] of impossible) {
    assert.ok(refused(encodeHeader({ ...example, ...wrong }, 4)), what);
  }
  const bytes = encodeHeader(example, 4);
  for (const [what, at, value] of [
    ["another beginning", 0, 0x4d],
    ["another version", 1, 2],
    ["another kind", 2, 3],
    ["no kind", 2, 0],
    ["another pass", 3, 2],
  ] as const) {
    const changed = bytes.slice();
    changed[at] = value;
    assert.ok(refused(changed), what);
  }
});
