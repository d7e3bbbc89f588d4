import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exitCodes } from "../../src/core/errors.ts";
import { parseManifest, serializeManifest } from "../../src/core/manifest.ts";
import { type Line, useUser } from "../fixtures/cli.ts";
import { classData, classJob } from "../fixtures/trained.ts";

const user = useUser();
const limit = { timeout: 300_000 };
const place = () => user().at("runs", "small", "run-1", "checkpoints");
const ids = () =>
  readdirSync(place())
    .filter((name) => !name.startsWith("."))
    .sort();
const checkpoints = (...words: string[]) => user().run("checkpoints", ...words);
const jobKeeping = (keep: string) =>
  classJob().replace("batchSize:", `checkpoint: { monitor: "val_loss", keep: ${keep} },\n  batchSize:`);

/** What `prune --json` tells, as fate and reason by id. */
function fates(stdout: string): Record<string, [string, string]> {
  const { checkpoints } = JSON.parse(stdout) as { checkpoints: { id: string; fate: string; reason: string }[] };
  return Object.fromEntries(checkpoints.map(({ id, fate, reason }) => [id, [fate, reason]]));
}

test(
  "a pin outlasts prune, which deletes what the job does not keep and what nobody published; --dry-run only tells",
  limit,
  async () => {
    await user().write("small.csv", classData());
    const all = await user().write("small.ts", jobKeeping("{ last: 9 }"));
    const few = await user().write("few.ts", jobKeeping("{ last: 1, best: 1 }"));
    const launched = await user().run("launch", all, "--workers", "2", "--shards", "3", "--epochs", "4", "--json");
    assert.equal(launched.code, 0, launched.stderr);
    const last = JSON.parse(launched.stdout.trim().split("\n").at(-1)!) as Line;
    const best = (last.best as { path: string }).path.split("/").at(-1)!;
    const before = ids();
    assert.equal(before.length, 5, "steps 0, 6, 12, 18 and 24");
    const latest = before.at(-1)!;
    const pinned = before.find((id) => id !== best && id !== latest)!;
    assert.equal((await checkpoints("pin", pinned.slice(-8), "--name", "paper", "--note", "figure 3")).code, 0);
    assert.equal((await checkpoints("pin", pinned, "--name", "thesis")).code, 0);
    assert.match((await checkpoints("list")).stdout, new RegExp(`^${pinned} .* pinned +bit-exact`, "m"));
    assert.match((await checkpoints("show", pinned)).stdout, /^is +pinned \(paper, thesis\)$/m);
    // What a dead leader has written and not published: whole, and unknown to etcd.
    const orphan = pinned.replace(/.{8}$/, "zzzzzzzz");
    cpSync(join(place(), pinned), join(place(), orphan), { recursive: true });
    const file = join(place(), orphan, "manifest.json");
    writeFileSync(file, serializeManifest({ ...parseManifest(readFileSync(file, "utf8")), id: orphan }));
    assert.match((await checkpoints("list")).stdout, new RegExp(`^${orphan} .* unpublished +bit-exact`, "m"));

    const nothing = await checkpoints("prune", "--dry-run", "--json");
    assert.deepEqual(
      Object.entries(fates(nothing.stdout)).filter(([, [fate]]) => fate === "deleted"),
      [[orphan, ["deleted", "etcd has no record of it"]]],
    );
    const dry = await checkpoints("prune", few, "--dry-run", "--json");
    assert.equal(dry.code, 0, dry.stderr);
    assert.deepEqual(ids(), [...before, orphan].sort(), "a dry run deletes nothing");
    const expected = (id: string): [string, string] => {
      if (id === latest) return ["kept", "latest"];
      if (id === best) return ["kept", "best"];
      if (id === pinned) return ["kept", "pinned"];
      return ["deleted", id === orphan ? "etcd has no record of it" : "nothing keeps it"];
    };
    assert.deepEqual(fates(dry.stdout), Object.fromEntries([...before, orphan].map((id) => [id, expected(id)])));

    const pruned = await checkpoints("prune", few);
    assert.equal(pruned.code, 0, pruned.stderr);
    assert.match(pruned.stdout, new RegExp(`^${orphan} +\\d+ +deleted +etcd has no record of it$`, "m"));
    const kept = [...new Set([latest, best, pinned])].sort();
    assert.deepEqual(ids(), kept);
    assert.equal((await checkpoints("verify")).code, 0, "nothing that is published is missing");

    const twice = await checkpoints("unpin", pinned);
    assert.deepEqual([twice.code, /2 pins: paper, thesis/.test(twice.stderr)], [exitCodes.usage, true], twice.stderr);
    assert.match(
      (await checkpoints("unpin", pinned, "--name", "paper")).stdout,
      /no longer pinned as paper, but as thesis/,
    );
    const unknown = await checkpoints("unpin", pinned, "--name", "paper");
    assert.deepEqual([unknown.code, /has no pin "paper"\.\n.*thesis/.test(unknown.stderr)], [exitCodes.usage, true]);
    await checkpoints("prune", few);
    assert.deepEqual(ids(), kept, "one pin is enough");
    assert.equal((await checkpoints("unpin", pinned)).code, 0);
    await checkpoints("prune", few);
    assert.deepEqual(
      ids(),
      kept.filter((id) => id !== pinned),
    );
    const gone = await checkpoints("pin", pinned);
    assert.deepEqual([gone.code, /There is no checkpoint/.test(gone.stderr)], [exitCodes.usage, true], gone.stderr);
    assert.match((await checkpoints("pin", latest, "--name", "a/b")).stderr, /--name is "a\/b"/);
    assert.equal((await checkpoints("pin", latest, "--name", "reader-1")).code, exitCodes.usage);
    const alone = await checkpoints("prune", "--checkpoints", place());
    assert.deepEqual([alone.code, /without etcd/.test(alone.stderr)], [exitCodes.usage, true], alone.stderr);
  },
);

test(
  "while the run is active prune is refused and deletes nothing; list, pin and --dry-run work beside it",
  limit,
  async () => {
    const few = await user().write("few.ts", jobKeeping("{ last: 1, best: 1 }"));
    const launch = user().start("launch", user().at("small.ts"), "--workers", "1", "--epochs", "100000", "--json");
    await launch.whenLine("that it trains", ({ event, epoch }) => event === "epoch" && Number(epoch) >= 6);
    const listed = await checkpoints("list");
    assert.match(listed.stdout, /latest +bit-exact/, listed.stderr);
    // While the leader prunes with every epoch, what was there a moment ago is read whole, or is said to be missing.
    const evaluated = await user().run("evaluate", few, "--checkpoint", "latest", "--data", user().at("small.csv"));
    assert.equal(evaluated.code, 0, evaluated.stderr);
    const pinned = await checkpoints("pin", "latest", "--name", "now");
    assert.equal(pinned.code, 0, pinned.stderr);
    const id = pinned.stdout.split(" ")[0]!;
    const dry = await checkpoints("prune", few, "--dry-run", "--json");
    assert.deepEqual([dry.code, fates(dry.stdout)[id]?.[0]], [0, "kept"], dry.stderr);
    const refused = await checkpoints("prune", few);
    assert.deepEqual([refused.code, refused.stdout], [exitCodes["job-running"], ""]);
    assert.match(refused.stderr, /Run 1 of "small" is active: its leader prunes by itself/);
    launch.kill("SIGINT");
    const { code, stderr } = await launch.exited;
    assert.equal(code, exitCodes.interrupted, stderr);
    assert.ok(existsSync(join(place(), id)), "what is pinned outlasts the run's own pruning");
    assert.equal((await checkpoints("prune", few)).code, 0);
    assert.ok(existsSync(join(place(), id)));
    assert.deepEqual(await user().processes(), []);
  },
);
