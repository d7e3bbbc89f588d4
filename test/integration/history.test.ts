import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { runWords } from "../../src/cli/find-run.ts";
import { parseManifest, serializeManifest } from "../../src/core/manifest.ts";
import type { Line } from "../fixtures/cli.ts";
import { useTrained } from "../fixtures/trained.ts";

const trained = useTrained();
const limit = { timeout: 240_000 };

/** Runs it, expects that all went well and nothing was said beside, and gives what it printed. */
async function printed(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await (await trained()).user.run(...words);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout;
}

test("history is the run's own, from a job's name, its file, its folder or that of a run", limit, async () => {
  const { finished, job } = await trained();
  const wanted = finished.history as Record<string, number>[];
  for (const word of ["small", job, "runs/small", "runs/small/run-1"]) {
    const json = JSON.parse(await printed("history", word, "--json")) as Record<string, unknown>;
    assert.deepEqual([json.job, json.run], ["small", 1]);
    assert.deepEqual(
      (json.history as { epoch: number; metrics: Record<string, number> }[]).map(({ epoch, metrics }) => ({
        epoch,
        ...metrics,
      })),
      wanted,
    );
  }
  const [header, ...lines] = (await printed("history", "--csv")).trim().split("\n");
  const names = header!.split(",");
  const column = (line: string, name: string) => Number(line.split(",")[names.indexOf(name)]);
  for (const name of ["epoch", "loss", "val_loss", "accuracy"]) {
    assert.deepEqual(
      lines.map((line) => column(line, name)),
      wanted.map((record) => record[name]),
    );
  }
});

test("plot draws SVG and PNG, light or dark, and says where", limit, async () => {
  const { user } = await trained();
  for (const [out, ...more] of [["curve.svg"], ["curve.png"], ["dark.png", "--dark"]] as const) {
    assert.equal(await printed("plot", "small", "--out", out, ...more), `${out}\n`);
  }
  assert.match(readFileSync(user.at("curve.svg"), "utf8"), /^<svg [\s\S]*best: epoch[\s\S]*<\/svg>\n$/);
  const light = readFileSync(user.at("curve.png"));
  assert.deepEqual(
    [light.toString("latin1", 1, 4), light.readUInt32BE(16), light.readUInt32BE(20)],
    ["PNG", 1600, 900],
  );
  assert.notDeepEqual(light, readFileSync(user.at("dark.png")));
});

test("a copy without etcd is equal as far as its checkpoints tell, and that it is one is said", limit, async () => {
  const { user, finished } = await trained();
  mkdirSync(user.at("copy"));
  cpSync(user.at("runs", "small", "run-1"), user.at("copy", "run-1"), { recursive: true });
  const { code, stdout, stderr } = await user.run("compare", "small", "copy", "--json", "--out", "both.svg");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /So only the digests of checkpoints that are there are compared\.\n$/);
  const found = JSON.parse(stdout) as Record<string, unknown>;
  const epochs = finished.epochs as number;
  assert.deepEqual([found.equalEpochs, found.commonEpochs, found.difference], [epochs, epochs, null]);
  const [first, second] = found.runs as { name: string; weightsDigest: string }[];
  assert.deepEqual([first!.name, second!.name], ["small", "copy"]);
  assert.deepEqual([first!.weightsDigest, second!.weightsDigest], [finished.weightsDigest, finished.weightsDigest]);
  assert.match(readFileSync(user.at("both.svg"), "utf8"), />copy</);
});

test("a job's folder by its whole path is read with its etcd", limit, async () => {
  const { user } = await trained();
  // `printed` expects that nothing is said of an etcd that is missing.
  const { difference } = JSON.parse(await printed("compare", "small", user.at("runs", "small"), "--json"));
  assert.equal(difference, null);
});

test(
  "without etcd the run that was trained last is the one that has written last, whatever its number",
  limit,
  async () => {
    const { user, ids } = await trained();
    for (const run of ["1", "2"])
      cpSync(user.at("runs/small/run-1"), user.at("older", `run-${run}`), { recursive: true });
    for (const id of ids) {
      const file = user.at("older", "run-2", "checkpoints", id, "manifest.json");
      const manifest = parseManifest(readFileSync(file, "utf8"));
      writeFileSync(file, serializeManifest({ ...manifest, run: "2", writtenAt: "2001-01-01T00:00:00.000Z" }));
    }
    const runIn = async (...words: string[]) => (JSON.parse(await printed("history", ...words, "--json")) as Line).run;
    assert.deepEqual([await runIn("older"), await runIn("older", "--run", "2"), await runIn("older/run-2")], [1, 2, 2]);
  },
);

test("what is wrong is one sentence, and what to do", limit, async () => {
  const { user } = await trained();
  const cases: [string[], RegExp][] = [
    [["history", "smal"], new RegExp(`There is no job "smal"; ${runWords} was expected\\.\\n {2}Is small meant\\?`)],
    [["history", "small", "--run", "9"], /etcd knows no run 9 of a job "small"\.\n/],
    [["history", "--csv", "--json"], /--csv and --json are both given; one of them was expected\.\n/],
    [
      ["plot", "small"],
      /--out is missing: where does the picture go\?\n {2}Give it as --out curve\.svg or --out curve\.png\./,
    ],
    [
      ["plot", "small", "--out", "curve.jpg"],
      /--out is "curve\.jpg"; a file that ends in \.svg or \.png was expected\.\n/,
    ],
    [
      ["plot", "small", "--out", "no/such.svg"],
      /--out is "no\/such\.svg", and .*\/no is not there\.\n {2}Make that folder, /,
    ],
    [["compare", "small"], /One run was given; two or more were expected\.\n/],
    [["history", "runs/small/run-1", "--run", "2"], /--run is 2, and runs\/small\/run-1 is the folder of run 1\.\n/],
  ];
  for (const [words, said] of cases) {
    const { code, stdout, stderr } = await user.run(...words);
    assert.deepEqual([code, stdout], [2, ""], words.join(" "));
    assert.match(stderr, said);
  }
});
