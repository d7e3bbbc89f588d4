/** Every example at small size: its data is there, its model is built, and two steps of it are trained. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { root } from "../architecture/sources.ts";
import { useUser } from "../fixtures/cli.ts";

const user = useUser();

/** What makes an example small, and what its check has to say. */
const examples: Readonly<Record<string, { readonly words: readonly string[]; readonly says: RegExp }>> = {
  digits: { words: ["--set", "batchSize=16"], says: /192 steps an epoch/ },
  friedman: { words: ["--param", "units=4"], says: /69 weights: 69 trained/ },
  sentiment: { words: ["--param", "units=3", "--set", "batchSize=8"], says: /LSTM {3}\[samples, 3\]/ },
  gpt: {
    words: [
      ...["--param", "layers=1", "--param", "width=8", "--param", "heads=2", "--param", "context=6"],
      ...["--param", "stride=1000", "--set", "batchSize=4"],
    ],
    says: /CausalAttention {2,}\[samples, 6, 8\]/,
  },
};

test("each example trains two steps at small size, with its parameters and fields set", {
  timeout: 300_000,
}, async () => {
  for (const [name, { words, says }] of Object.entries(examples)) {
    const { code, stdout, stderr } = await user().run("check", path.join(root, `examples/${name}.ts`), ...words);
    assert.equal(code, 0, `${name}: ${stderr}`);
    assert.match(stdout, says, name);
    assert.match(stdout, /Trained 2 steps here, .*: loss \d/, name);
  }
});
