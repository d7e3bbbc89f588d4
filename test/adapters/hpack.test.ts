/** Headers as HTTP/2 sends them: the examples of RFC 7541, and what is no header block. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeHeaders, HeaderDecoder, type Headers } from "../../src/adapters/http2/hpack.ts";
import { LockstepError } from "../../src/core/errors.ts";

const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));

/** Appendix C.4: three requests on one connection, with the Huffman code. */
const requests: readonly [block: string, headers: Headers][] = [
  [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ],
  ],
  [
    "8286 84be 5886 a8eb 1064 9cbf",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ],
  ],
  [
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ],
  ],
];

function isRefused(block: Uint8Array): boolean {
  try {
    new HeaderDecoder().decode(block);
    return false;
  } catch (error) {
    // Anything but this code would be a fault of this worker's.
    assert.ok(error instanceof LockstepError && error.code === "incompatible", String(error));
    return true;
  }
}

test("the requests of RFC 7541 are read, one after the other on one connection", () => {
  const decoder = new HeaderDecoder();
  for (const [block, headers] of requests) assert.deepEqual(decoder.decode(hex(block)), headers);
});

test("what was encoded is what is decoded, with values of every length around those that are written differently", () => {
  const decoder = new HeaderDecoder();
  for (const length of [0, 1, 126, 127, 128, 254, 255, 256, 16_510, 16_511, 20_000]) {
    const headers: Headers = [
      [":status", "200"],
      ["grpc-message", "~".repeat(length)],
    ];
    assert.deepEqual(decoder.decode(encodeHeaders(headers)), headers, `${length}`);
  }
});

test("a table that its sender has emptied has nothing in it, and one that grows too large forgets its oldest", () => {
  const decoder = new HeaderDecoder();
  decoder.decode(hex(requests[0]![0]));
  // The size of the table becomes 0; then the header that was kept is asked for.
  assert.throws(() => decoder.decode(hex("20 be")), /header 62 is unknown/);
  const large = new HeaderDecoder();
  const length = 127 + 0x40 + 0x0f * 128; // 2,111 bytes
  const block = (name: number) =>
    Uint8Array.from([0x40, 1, name, 0x7f, 0x40 | 0x80, 0x0f, ...new Uint8Array(length).fill(97)]);
  large.decode(block(98));
  large.decode(block(99));
  assert.equal(large.decode(hex("be"))[0]![0], "c", "the newest is there");
  assert.throws(() => large.decode(hex("bf")), /header 63 is unknown/, "two of them are more than 4,096 bytes");
});

test("a block that is cut short, or is none, is refused", () => {
  const whole = encodeHeaders([["content-type", "application/grpc"]]);
  for (let length = 1; length < whole.length; length++) assert.ok(isRefused(whole.subarray(0, length)), `${length}`);
  for (const [what, block] of [
    ["index 0", "80"],
    ["an index beyond all", "ff 80 80 01"],
    ["a number without an end", "ff ff ff ff ff ff ff ff"],
    ["a table larger than allowed", "3f e2 1f"],
    ["a Huffman text that ends in a code", "00 81 00 00"],
    ["a Huffman text filled with too much", "00 82 1f ff 00"],
  ] as const) {
    assert.ok(isRefused(hex(block)), what);
  }
});
