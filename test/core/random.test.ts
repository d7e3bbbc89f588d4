import assert from "node:assert/strict";
import { test } from "node:test";
import { philox, RandomStream } from "../../src/core/random.ts";

/** The known-answer vectors that the generator's authors publish with Random123 (philox4x32, 10 rounds). */
const knownAnswers = [
  { key: [0, 0], counter: [0, 0, 0, 0], out: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
  {
    key: [0xffffffff, 0xffffffff],
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    out: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  },
  {
    key: [0xa4093822, 0x299f31d0],
    counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    out: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  },
] as const;

test("the generator gives Random123's known answers", () => {
  for (const { key, counter, out } of knownAnswers) {
    const got = new Uint32Array(4);
    philox(key, Uint32Array.from(counter), got);
    assert.deepEqual([...got], [...out]);
  }
});

test("a stream is a function of its name: equal names agree, any difference differs", () => {
  const draw = (...name: ConstructorParameters<typeof RandomStream>) => {
    const stream = new RandomStream(...name);
    return Array.from({ length: 9 }, () => stream.nextUint32()).join();
  };
  const names: ConstructorParameters<typeof RandomStream>[] = [
    [1, "step", 0, 0],
    [2, "step", 0, 0],
    [2 ** 40 + 1, "step", 0, 0],
    [1, "shuffle", 0, 0],
    [1, "step", 1, 0],
    [1, "step", 0, 1],
  ];
  assert.equal(new Set(names.map((name) => draw(...name))).size, names.length);
  for (const name of names) assert.equal(draw(...name), draw(...name));
});

test("floats lie in [0, 1) and have the mean and variance of the uniform distribution", () => {
  const stream = new RandomStream(3, "report");
  const values = Array.from({ length: 100_000 }, () => stream.nextFloat());
  const mean = values.reduce((a, b) => a + b) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  assert.ok(values.every((value) => value >= 0 && value < 1));
  assert.ok(Math.abs(mean - 0.5) < 0.005, `mean ${mean}`);
  assert.ok(Math.abs(variance - 1 / 12) < 0.002, `variance ${variance}`);
});

test("a shuffle keeps every value and reaches every order equally often", () => {
  const counts = new Map<string, number>();
  for (let epoch = 0; epoch < 24_000; epoch++) {
    const order = new RandomStream(1, "shuffle", epoch).shuffle(Uint32Array.of(0, 1, 2, 3)).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  for (const [order, count] of counts) assert.ok(Math.abs(count - 1000) < 160, `${order}: ${count}`);
});
