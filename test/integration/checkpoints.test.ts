import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { parseManifest, serializeManifest } from "../../src/core/manifest.ts";
import type { Line } from "../fixtures/cli.ts";
import { classData, classJob, useTrained } from "../fixtures/trained.ts";

const trained = useTrained();
const limit = { timeout: 240_000 };
const checkpoints = async (...words: string[]) => (await trained()).user.run("checkpoints", ...words);

/** Runs it, expects this exit code and nothing on standard output, and gives what was said: one sentence, and a hint. */
async function refused(code: number, ...words: string[]): Promise<string> {
  const outcome = await (await trained()).user.run(...words);
  assert.deepEqual([outcome.code, outcome.stdout], [code, ""], outcome.stderr);
  const lines = outcome.stderr.trim().split("\n");
  assert.ok(lines.length <= 2 && lines[0]!.startsWith("lockstep: "), outcome.stderr);
  return outcome.stderr;
}

/** Copies the folder of checkpoints under another name, to be damaged. */
async function copied(name: string): Promise<string> {
  const { user, checkpoints } = await trained();
  const copy = user.at(name);
  cpSync(checkpoints, copy, { recursive: true });
  return copy;
}

/** Flips one bit in the middle of a file. */
function flip(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(file, bytes);
}

test(
  "list tells of each checkpoint where it is in training and what it is, without a word about which job",
  limit,
  async () => {
    const { ids, finished } = await trained();
    const [before, latest] = ids.slice(-2) as [string, string];
    const { code, stdout, stderr } = await checkpoints("list");
    assert.deepEqual([code, stderr], [0, ""]);
    const best = (finished.best as { path: string; epoch: number; value: number }).path.split("/").at(-1)!;
    const row = (id: string) => stdout.split("\n").find((line) => line.startsWith(id)) ?? "";
    assert.match(stdout, /^id +epoch +step +val_loss +size +is +exactness +age$/m);
    assert.match(row(latest), / 3 +18 .* kB +.*latest +bit-exact +\d+\.\d+ s$/);
    assert.match(row(best), / best/);
    assert.match(row(before), before === best ? / best / : / – +bit-exact/);

    const json = JSON.parse((await checkpoints("list", (await trained()).job, "--json")).stdout) as Record<
      string,
      unknown
    >;
    assert.deepEqual([json.job, json.run, json.etcd, json.monitor], ["small", 1, true, "val_loss"]);
    const rows = json.checkpoints as { id: string; marks: string[]; value: number; step: number }[];
    assert.deepEqual(
      rows.map(({ id }) => id),
      ids,
    );
    assert.ok(rows.find(({ id }) => id === latest)!.marks.includes("latest"));
    assert.equal(rows.find(({ id }) => id === best)!.value, (finished.best as { value: number }).value);
  },
);

test(
  "from storage alone list says that nobody knows what is published; so it does when etcd's data are gone",
  limit,
  async () => {
    const { checkpoints: place, ids, user } = await trained();
    const alone = await checkpoints("list", "--checkpoints", place);
    assert.equal(alone.code, 0, alone.stderr);
    for (const id of ids) assert.match(alone.stdout, new RegExp(`^${id} .* \\? +bit-exact`, "m"));
    assert.match(
      alone.stdout,
      /etcd was not asked, so nobody knows what is published, best, latest, pinned or condemned/,
    );

    cpSync(user.at("runs", "small", "run-1"), user.at("moved", "run-1"), { recursive: true });
    const moved = await checkpoints("list", "--job", "small", "--directory", user.at("moved"));
    assert.equal(moved.code, 0, moved.stderr);
    assert.match(moved.stderr, /no run of "small" .*: what is published, best, latest or pinned is unknown/);
    assert.ok(
      ids.every((id) => moved.stdout.includes(id)),
      moved.stdout,
    );
  },
);

test("list marks what nobody published, what is missing, and what has a corrupt manifest", limit, async () => {
  const { ids, job } = await trained();
  const place = await copied("marked");
  const [first, last] = ids.slice(-2) as [string, string];
  flip(join(place, first, "manifest.json"));
  rmSync(join(place, last), { recursive: true });
  const { stdout, code } = await checkpoints("list", job, "--checkpoints", place, "--json");
  assert.equal(code, 0);
  const rows = (JSON.parse(stdout) as { checkpoints: { id: string; marks: string[] }[] }).checkpoints;
  const marks = Object.fromEntries(rows.map((row) => [row.id, row.marks]));
  assert.ok(marks[first]!.includes("corrupt") && !marks[first]!.includes("missing"), stdout);
  assert.ok(marks[last]!.includes("missing") && marks[last]!.includes("latest"), stdout);
});

test("show tells a manifest, of best, latest, an id or a part of it", limit, async () => {
  const { ids, checkpoints: place } = await trained();
  const latest = ids.at(-1)!;
  const manifest = parseManifest(readFileSync(join(place, latest, "manifest.json"), "utf8"));
  for (const word of ["latest", latest, latest.slice(-8)]) {
    const { code, stdout, stderr } = await checkpoints("show", word);
    assert.equal(code, 0, stderr);
    for (const part of [latest, manifest.stateDigest, manifest.weightsDigest, ...manifest.members]) {
      assert.ok(stdout.includes(part), `${part} is in:\n${stdout}`);
    }
    for (const { name, sha256 } of manifest.files) assert.match(stdout, new RegExp(`${name} .*sha256:${sha256}`));
    for (const field of Object.keys(manifest.fingerprint)) assert.ok(stdout.includes(field), field);
    assert.match(stdout, /val_loss +\d/);
    assert.match(stdout, /^is +(best, )?latest$/m);
  }
  const json = JSON.parse((await checkpoints("show", "latest", "--json")).stdout) as { manifest: unknown };
  assert.deepEqual(json.manifest, JSON.parse(JSON.stringify(manifest)));
});

test("an id that is unknown is answered with the nearest ones, a wrong folder with the right one", limit, async () => {
  const { ids, checkpoints: place, user, job } = await trained();
  const usage = exitCodes.usage;
  const [first, last] = [ids[0]!, ids.at(-1)!];
  const misspelt = last.replace("small", "smal");
  assert.match(
    await refused(usage, "checkpoints", "show", misspelt),
    new RegExp(`"${misspelt}".*\n.*nearest.* ${last}`),
  );
  assert.match(await refused(usage, "checkpoints", "show", "small-1-step"), /part of \d checkpoints/);
  assert.match(await refused(usage, "checkpoints", "show"), /Which checkpoint\?/);
  assert.match(await refused(usage, "checkpoints", "list", first), new RegExp(`no job file.*\n.*show ${first}`));
  assert.match(await refused(usage, "checkpoints", "lits"), /no command "checkpoints lits".*\n.*checkpoints list/);
  const one = await refused(usage, "checkpoints", "list", "--checkpoints", join(place, first));
  assert.match(one, new RegExp(`is one checkpoint;.*\n.*Give ${place}\\.`));
  assert.match(await refused(usage, "checkpoints", "list", "--checkpoints", user.at("absent")), /no folder .*absent/);
  assert.match(
    await refused(usage, "checkpoints", "verify", "--checkpoints", user.folder),
    /There is no checkpoint in/,
  );
  assert.match(await refused(usage, "checkpoints", "list", "--checkpoints", job), /small\.ts is no folder/);
  assert.match(
    await refused(usage, "checkpoints", "show", "best", "--checkpoints", place),
    /without etcd nobody knows/,
  );
  assert.match(await refused(usage, "checkpoints", "list", "--job", "other"), /no run of "other"/);
});

test(
  "verify reads all back, and names the one file of each checkpoint that is not what was written",
  limit,
  async () => {
    const { ids } = await trained();
    const whole = await checkpoints("verify");
    assert.equal(whole.code, 0, whole.stderr);
    for (const id of ids)
      assert.match(whole.stdout, new RegExp(`^${id}  whole: its manifest and 3 files, .* kB, as published$`, "m"));
    assert.match(whole.stdout, /all are whole/);

    for (const name of ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]) {
      const place = await copied(`flipped-${name}`);
      flip(join(place, ids[0]!, name));
      const { code, stdout } = await checkpoints("verify", "--checkpoints", place);
      assert.equal(code, exitCodes["corrupt-checkpoint"], stdout);
      assert.match(
        stdout,
        new RegExp(`^${ids[0]}  CORRUPT: .*${name.replace(".", "\\.")} is not what was written`, "m"),
      );
      for (const id of ids.slice(1)) assert.match(stdout, new RegExp(`^${id}  whole`, "m"));
    }
  },
);

test(
  "verify finds a published checkpoint that is missing, and one that is whole and not what was published",
  limit,
  async () => {
    const { ids, job } = await trained();
    const place = await copied("replaced");
    const [first, last] = ids.slice(-2) as [string, string];
    rmSync(join(place, last), { recursive: true });
    // Whole in itself: another time of writing, with the checksum that belongs to it.
    const file = join(place, first, "manifest.json");
    const manifest = parseManifest(readFileSync(file, "utf8"));
    writeFileSync(file, serializeManifest({ ...manifest, writtenAt: "2020-01-01T00:00:00.000Z" }));
    const alone = await checkpoints("verify", "--checkpoints", place);
    assert.equal(alone.code, 0, alone.stdout);
    const { code, stdout } = await checkpoints("verify", job, "--checkpoints", place);
    assert.equal(code, exitCodes["corrupt-checkpoint"], stdout);
    assert.match(stdout, new RegExp(`^${first}  CORRUPT: The manifest .* was published`, "m"));
    assert.match(stdout, new RegExp(`^${last}  MISSING: There is no checkpoint`, "m"));
  },
);

test(
  "verify --replay trains on to the digests that the run recorded, and says what it cannot compare",
  limit,
  async () => {
    const { ids, job, user, checkpoints: place, finished } = await trained();
    const from = ids.at(-2)!;
    const { step } = parseManifest(readFileSync(join(place, from, "manifest.json"), "utf8"));
    const { code, stdout, stderr } = await checkpoints("verify", job, from, "--replay", String(18 - step), "--json");
    assert.equal(code, 0, `${stdout}${stderr}`);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    const replayed = lines.filter(({ event }) => event === "replayed");
    assert.ok(replayed.length >= 3 && replayed.every(({ same }) => same === true), stdout);
    assert.equal(replayed.at(-1)!.weightsDigest, finished.weightsDigest);
    assert.equal(lines.at(-1)!.event, "exact");

    const short = await checkpoints("verify", job, from, "--replay", "1");
    assert.equal(short.code, exitCodes.usage);
    assert.match(
      short.stderr,
      /--replay 1 reaches no recorded digest: .*next one is of step \d+\.\n.*--replay 6 or more/,
    );
    const end = await checkpoints("verify", job, "latest", "--replay", "50");
    assert.equal(end.code, exitCodes.usage);
    assert.match(end.stderr, /none is recorded after that/);

    const other = await user.write("other.ts", classJob().replace("seed: 3", "seed: 4"));
    const misfit = await checkpoints("verify", other, from, "--replay", "6");
    assert.equal(misfit.code, exitCodes.incompatible);
    assert.match(misfit.stderr, /cannot be replayed: .* was .* and is /);
    assert.match(await refused(exitCodes.usage, "checkpoints", "verify", from, "--replay", "6"), /needs the job file/);
  },
);

test(
  "evaluate takes best, latest and parts of ids, and a file instead of the job's test data; no training data",
  limit,
  async () => {
    const { ids, job, user, checkpoints: place } = await trained();
    const file = await user.write("more.csv", classData(60));
    const evaluated = async (...words: string[]) => {
      const { code, stdout, stderr } = await user.run("evaluate", job, "--data", file, ...words);
      assert.equal(code, 0, stderr);
      return (JSON.parse(stdout) as { test: Record<string, Record<string, number>> }).test;
    };
    const both = await evaluated("--checkpoint", "best", "--checkpoint", "latest");
    assert.ok(Object.hasOwn(both, ids.at(-1)!));
    const one = await evaluated("--checkpoint", ids.at(-1)!.slice(-8));
    assert.deepEqual(one, { [ids.at(-1)!]: both[ids.at(-1)!] });
    assert.deepEqual(Object.keys(one[ids.at(-1)!]!), ["loss", "accuracy"]);
    renameSync(user.at("small.csv"), user.at("hidden.csv"));
    try {
      const words = ["--checkpoints", place, "--checkpoint", ids.at(-1)!, "--shards", "3"];
      assert.deepEqual(await evaluated(...words), one);
    } finally {
      renameSync(user.at("hidden.csv"), user.at("small.csv"));
    }
    const wider = await user.write("wider.ts", classJob(16));
    const misfit = await user.run("evaluate", wider, "--data", file, "--checkpoints", place, "--checkpoint", ids[0]!);
    assert.equal(misfit.code, exitCodes.incompatible, misfit.stderr);
    assert.match(misfit.stderr, /has \[6, 8\] for .*kernel, where the job has \[6, 16\]/);
    const narrow = await user.write("narrow.csv", classData(60).replaceAll(/^[^,]*,/gm, ""));
    const few = await user.run("evaluate", job, "--data", narrow);
    assert.equal(few.code, exitCodes["invalid-data"], few.stderr);
    assert.match(few.stderr, /The data has 5 features a sample, and the checkpoint .* was trained with 6/);
    const absent = await user.run("evaluate", job, "--data", user.at("absent.csv"));
    assert.deepEqual([absent.code, absent.stdout], [exitCodes.usage, ""], absent.stderr);
    assert.match(absent.stderr, /there is neither a file nor a folder .*absent\.csv/);
    const nothing = await user.run("evaluate", job, "--checkpoints", place, "--checkpoint", ids[0]!);
    assert.deepEqual([nothing.code, nothing.stdout], [exitCodes.usage, ""], nothing.stderr);
    assert.match(nothing.stderr, /has neither test data nor a report/);
  },
);

test("nothing of a command is left: no process, no temporary file", limit, async () => {
  const { user } = await trained();
  assert.deepEqual(await user.processes(), []);
  assert.deepEqual(
    readdirSync(user.folder).filter((name) => name.includes("partial")),
    [],
  );
});

test("verify beside a run that keeps few of many checkpoints finds nothing wrong", limit, async () => {
  const { user } = await trained();
  const policy = "checkpoint: { saveFreq: { steps: 1 }, keep: { last: 3 } },";
  const job = await user.write(
    "busy.ts",
    classJob().replace('"small"', '"busy"').replace("epochs: 2,", `${policy} epochs: 5000,`),
  );
  const launch = user.start("launch", job, "--workers", "1", "--json");
  await launch.whenLine("that it trains", ({ event, epoch }) => event === "epoch" && Number(epoch) >= 1);
  let gone = 0;
  for (let i = 0; i < 20 && gone === 0; i++) {
    const { code, stdout, stderr } = await user.run("checkpoints", "verify", job);
    assert.equal(code, 0, `${stdout}${stderr}`);
    if (stdout.includes("gone meanwhile: the job does not keep it")) gone++;
  }
  assert.ok(gone > 0, "some went while they were to be read");
  launch.kill("SIGINT");
  assert.equal((await launch.exited).code, 130);
});
