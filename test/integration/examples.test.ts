/** Every example at small size: its data is there, its model is built, and two steps of it are trained. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { dataSizeBytes, encodeHeader } from "../../src/core/safetensors.ts";
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
  cifar: { words: ["--data", "pictures", "--set", "batchSize=8"], says: /78,714 weights/ },
  transfer: { words: ["--param", "base=BASE"], says: /257 trained, 148,224 not/ },
};

/** What is not among the examples' files: pictures in CIFAR's form, and a base with the weights of the digits' hidden layers. */
async function writeMissing(): Promise<void> {
  const record = (i: number) => [i % 10, ...Array.from({ length: 3072 }, (_, at) => (i * at) % 256)];
  const records = Uint8Array.from(Array.from({ length: 100 }, (_, i) => record(i)).flat());
  await mkdir(user().at("pictures"));
  for (const name of ["data_batch_1.bin", "test_batch.bin"]) await writeFile(user().at("pictures", name), records);
  const base = [1, 2, 3].flatMap((i) => [
    { name: `dense_Dense${i}/kernel`, shape: [i === 1 ? 64 : 256, 256] },
    { name: `dense_Dense${i}/bias`, shape: [256] },
  ]);
  const zeros = base.map(({ shape }) => new Uint8Array(dataSizeBytes(shape)));
  await writeFile(user().at("base.safetensors"), Buffer.concat([encodeHeader(base), ...zeros]));
}

test("each example trains two steps at small size, with its parameters and fields set", {
  timeout: 300_000,
}, async () => {
  await writeMissing();
  for (const [name, { words: written, says }] of Object.entries(examples)) {
    const words = written.map((word) => word.replace("BASE", user().at("base.safetensors")));
    const { code, stdout, stderr } = await user().run("check", path.join(root, `examples/${name}.ts`), ...words);
    assert.equal(code, 0, `${name}: ${stderr}`);
    assert.match(stdout, says, name);
    assert.match(stdout, /Trained 2 steps here, .*: loss \d/, name);
  }
});
