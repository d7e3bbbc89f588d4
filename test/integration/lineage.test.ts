/** Going back: on purpose, and because what was published cannot be read. The weights are the undisturbed run's all the same. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { parseManifest } from "../../src/core/manifest.ts";
import { digitsJob, type Line, type Outcome, useUser } from "../fixtures/cli.ts";

const user = useUser();
const limit = { timeout: 240_000 };
const checkpoints = (...parts: string[]) => user().at("back", "run-1", "checkpoints", ...parts);

const launch = (folder: string, ...args: string[]) =>
  user().run(
    ...["launch", digitsJob, "--json", "--job", folder, "--directory", user().at(folder), "--shards", "3"],
    ...["--log-level", "info", ...args],
  );

function finished({ code, stdout, stderr }: Outcome): { last: Line; lines: string[] } {
  assert.equal(code, 0, stderr);
  const lines = stdout.trim().split("\n");
  const last = JSON.parse(lines.at(-1)!) as Line;
  assert.equal(last.event, "finished");
  return { last, lines: [...lines, stderr] };
}

const manifestOf = (id: string) => parseManifest(readFileSync(checkpoints(id, "manifest.json"), "utf8"));

/** The checkpoint of a step; of several that of the newest lineage. */
function checkpointOf(step: number): string {
  const name = `-step-${String(step).padStart(8, "0")}-`;
  const ids = readdirSync(checkpoints()).filter((id) => id.includes(name));
  return (
    ids.sort((a, b) => manifestOf(a).lineage - manifestOf(b).lineage).at(-1) ?? assert.fail(`none of step ${step}`)
  );
}

function flipBit(id: string): void {
  const path = checkpoints(id, "weights.safetensors");
  const bytes = readFileSync(path);
  bytes[bytes.length - 9]! ^= 4;
  writeFileSync(path, bytes);
}

let three: Line;
let four: Line;

test(
  "resumed from a checkpoint before latest, a run opens a lineage, says so, and comes to the same weights",
  limit,
  async () => {
    three = finished(await launch("whole", "--workers", "2", "--epochs", "3")).last;
    finished(await launch("back", "--workers", "2", "--epochs", "3"));
    const steps = Number(three.steps);
    const id = checkpointOf((steps / 3) * 2);
    const again = finished(await launch("back", "--workers", "1", "--epochs", "3", "--resume", id));
    assert.equal(again.last.weightsDigest, three.weightsDigest);
    assert.match(again.lines.join("\n"), new RegExp(`Lineage 2 begins: resumed from ${id} at step`));
    const newest = manifestOf(checkpointOf(steps));
    assert.deepEqual(
      [newest.lineage, newest.openings.map(({ lineage, checkpoint }) => [lineage, checkpoint])],
      [2, [[2, id]]],
    );
    assert.deepEqual(
      (again.last.history as Line[]).map(({ epoch }) => epoch),
      [1, 2, 3],
    );
  },
);

test("from a checkpoint that is not there, or from nothing, a run is not resumed", limit, async () => {
  const missing = await launch("back", "--workers", "1", "--resume", "back-1-step-00000007-g1-t1-abc");
  assert.equal(missing.code, exitCodes.usage);
  assert.match(missing.stderr, /has no checkpoint back-1-step-00000007-g1-t1-abc\. The nearest are back-1-step-/);
  const nothing = await launch("nothing", "--workers", "1", "--resume", "best");
  assert.equal(nothing.code, exitCodes.usage);
  assert.match(nothing.stderr, /has no run yet/);
});

test("rule 15: a corrupt latest is set aside, loudly, and the one before is gone on from", limit, async () => {
  const steps = Number(three.steps);
  four = finished(await launch("whole", "--workers", "2", "--epochs", "4")).last;
  const broken = checkpointOf(steps);
  flipBit(broken);
  const { last, lines } = finished(await launch("back", "--workers", "2", "--epochs", "4"));
  assert.equal(last.weightsDigest, four.weightsDigest);
  const log = readdirSync(user().at("back", "logs")).map((name) =>
    readFileSync(user().at("back", "logs", name), "utf8"),
  );
  const told = [...lines, ...log].join("\n");
  assert.match(told, /a checkpoint is set aside/);
  assert.match(told, /what was published cannot be gone on from; a new lineage begins/);
  const { lineage, openings } = manifestOf(checkpointOf(Number(last.steps)));
  assert.equal(lineage, 3);
  assert.match(openings.at(-1)!.reason, new RegExp(`${broken} is set aside: .*SHA-256`));
  assert.ok(readdirSync(checkpoints()).includes(broken), "what is set aside stays for people to look at");
});

test(
  "rule 15: a finished run whose latest is damaged afterwards trains the rest again, to the same bits",
  limit,
  async () => {
    const damaged = checkpointOf(Number(four.steps));
    const words = ["--workers", "2", "--epochs", "4"];
    assert.match(finished(await launch("back", ...words)).lines.join("\n"), /"back" is finished: 4 of 4 epochs/);
    flipBit(damaged);
    const { last, lines } = finished(await launch("back", ...words));
    assert.match(lines.join("\n"), new RegExp(`${damaged} is set aside: .*SHA-256`));
    assert.match(lines.join("\n"), /It was latest, so the run is not finished any more/);
    assert.deepEqual([last.weightsDigest, last.history], [four.weightsDigest, four.history]);
    assert.equal((last.best as Line).epoch, (four.best as Line).epoch);
    assert.notEqual((last.latest as { path: string }).path.split("/").at(-1), damaged);
  },
);

test(
  "verify shows what is set aside and does not hold it against the run; prune --set-aside deletes it",
  limit,
  async () => {
    const command = (...words: string[]) =>
      user().run("checkpoints", ...words, "--job", "back", "--directory", user().at("back"));
    const before = readdirSync(checkpoints());
    const verified = await command("verify", "--json");
    assert.equal(verified.code, 0, verified.stdout);
    const findings = verified.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    const aside = findings.filter(({ verdict }) => verdict === "set-aside").map(({ id }) => id as string);
    assert.equal(aside.length, 2);
    assert.match((await command("verify")).stdout, new RegExp(`^${aside[0]}  set aside: .* says: .*SHA-256`, "m"));
    assert.equal((await command("verify", aside[0]!)).code, exitCodes["corrupt-checkpoint"], "it was asked for");
    const dry = await command("prune", "--set-aside", "--dry-run", "--json");
    const going = (JSON.parse(dry.stdout) as { checkpoints: { id: string; fate: string }[] }).checkpoints;
    const fates = new Map(going.map(({ id, fate }) => [id, fate]));
    assert.deepEqual(
      aside.map((id) => fates.get(id)),
      ["deleted", "deleted"],
    );
    assert.equal((await command("prune")).code, 0);
    assert.deepEqual(readdirSync(checkpoints()), before, "not unasked");
    assert.equal((await command("prune", "--set-aside")).code, 0);
    assert.deepEqual(
      readdirSync(checkpoints()),
      before.filter((id) => !aside.includes(id)),
    );
    assert.equal((await command("verify")).code, 0);
  },
);

test("rule 15: when no checkpoint is whole, the run does not silently begin again", limit, async () => {
  for (const id of readdirSync(checkpoints())) flipBit(id);
  const { code, stderr } = await launch("back", "--workers", "1", "--epochs", "5");
  assert.equal(code, exitCodes["corrupt-checkpoint"], stderr);
  assert.match(stderr, /no other checkpoint is whole/);
});
