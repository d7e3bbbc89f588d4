/** JSON lines: as Python reads them, or refused with a sentence. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { readRows } from "../../src/adapters/data/rows.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { jsonLines } from "../../src/index.ts";
import { decodeJsonLines } from "../fixtures/byte-source.ts";
import { Fuzz } from "../fixtures/fuzz.ts";
import { pythonWithNumpy, runPython } from "../fixtures/numpy.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-json-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const decoded = (text: string, features = ["a"], label = "y") =>
  decodeJsonLines("f", Buffer.from(text), jsonLines({ path: "f", features, label }));

test("fields are features in the order that the job names, lists keep their shape, booleans are 0 and 1", async () => {
  const flat = await decoded('{"a":1,"y":true,"b":[2,3]}\r\n{"b":[5,6],"a":4.5,"c":"unused","y":false}\n\n', [
    "b",
    "a",
  ]);
  assert.deepEqual([flat.length, flat.features.shape, flat.label.shape], [2, [3], []]);
  assert.deepEqual(flat.read([1, 0]), {
    count: 2,
    features: Float32Array.of(5, 6, 4.5, 2, 3, 1),
    label: Float32Array.of(0, 1),
  });
  const shaped = await decoded('{"a":[[1,2,3],[4,5,6]],"y":[1,0]}');
  assert.deepEqual([shaped.features.shape, shaped.label.shape], [[2, 3], [2]]);
  assert.deepEqual((await decoded('{"a":7,"y":1}')).features.shape, [1]);
});

test("records to predict are read like those of training, without the label", async () => {
  const file = path.join(folder, "new.jsonl");
  await writeFile(file, '{"b":true,"a":[[1,2],[3,4]]}\n[1,2,3,4,5]\n');
  const source = jsonLines({ path: "f", features: ["a", "b"], label: "y" });
  const rows = readRows(file, { source, width: 5, names: null, known: { dictionaries: {} } }, 8, () => assert.fail());
  const { value } = await rows.next();
  assert.deepEqual(value, { count: 2, values: Float32Array.of(1, 2, 3, 4, 1, 1, 2, 3, 4, 5) });
});

test("equal files have equal digests; other bytes, and other fields, another one", async () => {
  const line = '{"a":1,"b":2,"y":3}\n';
  assert.equal((await decoded(line)).digest, (await decoded(line)).digest);
  assert.notEqual((await decoded(line)).digest, (await decoded(line, ["b"])).digest);
  assert.notEqual((await decoded(line)).digest, (await decoded('{"a":1,"b":2,"y":4}\n')).digest);
});

test("what is missing, or of another form, is named by line and field", async () => {
  const good = '{"a":[1,2],"y":0}\n';
  const cases: [text: string, says: RegExp][] = [
    ["", /^The data file f is empty/],
    [`${good}{"a":[1,2]}`, /^f, line 2 has no "y"; expected it in every line/],
    [`${good}{"A":[1,2],"y":0}`, /^f, line 2 has no "a"/],
    [`${good}{"a":[1,null],"y":0}`, /^f, line 2, "a"\[1\] is null; expected a finite number/],
    [`${good}{"a":[1,"2"],"y":0}`, /^f, line 2, "a"\[1\] is "2"; expected a finite number/],
    [`${good}{"a":[1,1e39],"y":0}`, /^f, line 2, "a"\[1\] is 1e\+39; expected a finite number/],
    [`${good}{"a":[1,2,3],"y":0}`, /^f, line 2, "a" has 3 values; expected a list of 2, as in line 1/],
    [`${good}{"a":7,"y":0}`, /^f, line 2, "a" is 7; expected a list of 2/],
    [`${good}{"a":[[1],2],"y":0}`, /^f, line 2, "a"\[0\] is \[1\]; expected a finite number/],
    ['{"a":[],"y":0}', /^f, line 1, "a" has an empty list/],
    [`{"a":${"[".repeat(9)}1${"]".repeat(9)},"y":0}`, /^f, line 1, "a" has more than 8 dimensions/],
    [`${good}\n${good}`, /^f, line 2 is blank/],
    [`${good}[1]`, /^f, line 2 is \[1\]; expected a JSON object/],
    [`${good}{"a":`, /^f, line 2 is no JSON: \{"a":/],
    [`{"a":[${"1,".repeat(50_000)}1],"y":0}\n${'{"y":0}\n'.repeat(200_000)}`, /^f, line 2 has no "a"/],
  ];
  for (const [text, says] of cases) {
    await assert.rejects(
      decoded(text),
      (error) => error instanceof LockstepError && error.code === "invalid-data" && says.test(error.message),
      String(says),
    );
  }
});

test("what Python writes is read as Python reads it", { timeout: 60_000 }, async (context) => {
  const python = await pythonWithNumpy();
  if (typeof python !== "string") return context.skip(python.reason);
  await runPython(python, pythonProgram, folder);
  const data = await openDataset(jsonLines({ path: "a.jsonl", features: ["x", "b"], label: "y" }), folder);
  const { features, label } = data.read(Array.from({ length: data.length }, (_, index) => index));
  const numbersOf = async (name: string) =>
    new Float32Array(new Uint8Array(await readFile(path.join(folder, name))).buffer);
  assert.equal(data.length, 500);
  assert.deepEqual(features, await numbersOf("features.f32"));
  assert.deepEqual(label, await numbersOf("label.f32"));
  await writeFile(path.join(folder, "nan.jsonl"), '{"x":NaN,"y":1}\n');
  await assert.rejects(
    openDataset(jsonLines({ path: "nan.jsonl", features: ["x"], label: "y" }), folder),
    /line 1 is no JSON/,
  );
});

const pythonProgram = `
import json, os, sys
import numpy as np
os.chdir(sys.argv[1])
random = np.random.default_rng(3)
rows = [{"y": int(random.integers(-2**40, 2**40)), "note": "é\\u2028😀", "b": bool(random.integers(2)),
         "x": (random.standard_normal((2, 3)) * 10.0 ** random.integers(-40, 30)).tolist()} for _ in range(500)]
with open("a.jsonl", "w", encoding="utf-8") as file:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=bool(random.integers(2))) + "\\n")
read = [json.loads(line) for line in open("a.jsonl", encoding="utf-8").read().split("\\n") if line]
np.array([np.append(np.float64(row["x"]).ravel(), row["b"]) for row in read]).astype("<f4").tofile("features.f32")
np.array([np.float64(row["y"]) for row in read]).astype("<f4").tofile("label.f32")
`;

test("damaged files are read or refused, never anything else", { timeout: 120_000 }, async (context) => {
  const fuzz = Fuzz.begin(context);
  const samples = ['{"a":[1,2.5],"y":true}\n{"a":[3,-4e2],"y":0}\n', '{"a":1,"y":2}\n', '\uFEFF{"y":[[1]],"a":0}'].map(
    (text) => new TextEncoder().encode(text),
  );
  const inputs = 25_000;
  let refused = 0;
  for (let n = 0; n < inputs; n++) {
    try {
      const source = jsonLines({ path: "f", features: ["a"], label: "y" });
      const data = await decodeJsonLines("f", Buffer.from(fuzz.input(samples)), source);
      assert(data.read([data.length - 1]).features.every(Number.isFinite));
    } catch (error) {
      if (!(error instanceof LockstepError && error.code === "invalid-data")) {
        throw new Error(`input ${n} is neither read nor refused`, { cause: error });
      }
      refused++;
    }
  }
  assert.ok(refused > inputs / 100 && refused < inputs, `${refused} of ${inputs} were refused`);
});
