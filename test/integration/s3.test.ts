/** Training with its checkpoints in object storage, on a real S3 server: as a user does it. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { loadCheckpoint } from "../../src/index.ts";
import { type Outcome, useUser } from "../fixtures/cli.ts";
import { bucket, secretKey, startTestS3, type TestS3 } from "../fixtures/s3.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const started = await startTestS3();
const skip = "reason" in started ? started.reason : false;
// Where there is none, nothing that looks at it is run.
const s3 = started as TestS3;
// As the user has set them, before there is a user; each test file is a process of its own.
if (!skip) Object.assign(process.env, s3.environment);
const limit = { timeout: 300_000 };

describe("checkpoints in object storage", { skip }, () => {
  const user = useUser();
  const place = `s3://${bucket}/teams/small`;

  before(async () => {
    await user().write("small.ts", smallJob());
    await user().write("small.csv", smallData(60));
  });
  after(() => s3.stop());

  const launch = (directory: string, ...more: string[]) =>
    user().run("launch", "small.ts", "--json", "--directory", user().at(directory), ...more);

  test(
    "a job trains to the same bits, goes on from there with another number of workers, and is evaluated",
    limit,
    async () => {
      const here = resultOf(await launch("here", "--job", "here", "--workers", "2", "--epochs", "3"));
      const first = await launch("there", "--checkpoints", place, "--workers", "2", "--epochs", "2");
      const { best } = resultOf(first) as { best: { path: string } };
      assert.ok(best.path.startsWith(`${place}/`), best.path);
      const second = await launch("there", "--checkpoints", `${place}/`, "--workers", "1", "--epochs", "3");
      assert.equal(resultOf(second).weightsDigest, here.weightsDigest);
      assert.equal(existsSync(user().at("there", "run-1", "checkpoints")), false, "nothing is written to a directory");
      const ids = readdirSync(join(s3.directory, "teams", "small")).filter((name) => !name.startsWith("."));
      assert.ok(ids.length >= 2, "best and latest are there");
      for (const id of ids) {
        const names = readdirSync(join(s3.directory, "teams", "small", id)).sort();
        assert.deepEqual(names, ["manifest.json", "optimizer.safetensors", "state.json", "weights.safetensors"]);
      }
      const id = best.path.slice(place.length + 1);
      const evaluated = await user().run(
        "evaluate",
        "small.ts",
        "--checkpoints",
        place,
        "--checkpoint",
        id,
        "--data",
        "small.csv",
      );
      assert.equal(evaluated.code, 0, evaluated.stderr);

      const listed = await user().run("checkpoints", "list", "--checkpoints", place, "--json");
      assert.equal(listed.code, 0, listed.stderr);
      for (const one of ids) assert.ok(listed.stdout.includes(one), one);

      const there = ["--job", "small", "--directory", user().at("there")];
      const verified = await user().run("checkpoints", "verify", ...there);
      assert.equal(verified.code, 0, verified.stderr);
      for (const one of ids) assert.match(verified.stdout, new RegExp(`^${one}  whole: .*, as published$`, "m"));
      const planned = await user().run("checkpoints", "prune", "--dry-run", ...there);
      assert.equal(planned.code, 0, planned.stderr);
      const loaded = await loadCheckpoint(best.path);
      assert.deepEqual([loaded.manifest.id, loaded.weights.length], [id, 4]);
      await assert.rejects(loadCheckpoint(`${place}/absent`), /There is no checkpoint "absent"/);

      const logs = readdirSync(user().at("there", "logs")).map((name) =>
        readFileSync(user().at("there", "logs", name), "utf8"),
      );
      const told = [first, second, evaluated, listed].flatMap(({ stdout, stderr }) => [stdout, stderr]);
      assert.ok(logs.length >= 3 && logs.join().includes("published"));
      assert.ok(![...logs, ...told].join().includes(secretKey), "nobody tells the secret");
    },
  );

  test("a service that is away for a while is waited for, and training goes on", limit, async () => {
    let cutCount = 0;
    s3.decide((request) => {
      // More often than one write tries by itself.
      if (cutCount >= 6 || !/^PUT .*step-00000012.*weights/.test(request)) return "passes";
      cutCount += 1;
      return "cut";
    });
    const words = ["--job", "away", "--checkpoints", `s3://${bucket}/away`, "--workers", "1", "--epochs", "3"];
    const away = await launch("away", ...words);
    s3.decide(() => "passes");
    const result = resultOf(away) as { latest: { path: string; epoch: number } };
    assert.equal(cutCount, 6);
    assert.equal(result.latest.epoch, 3);
    const lines = readFileSync(user().at("away", "logs", "worker-0.log"), "utf8")
      .trimEnd()
      .split("\n");
    const failures = lines
      .map((line) => JSON.parse(line) as { message: string; error?: string })
      .filter(({ message }) => message === "a leader's duty failed and is tried again");
    assert.ok(failures.length > 0, lines.join("\n"));
    for (const { error } of failures) assert.match(error ?? "", /cannot be reached/);
  });

  test("a bucket that is not there is said before anything is started", limit, async () => {
    const { code, stderr } = await launch("nowhere", "--checkpoints", "s3://nowhere/small");
    assert.equal(code, 1);
    assert.match(stderr, /Cannot read s3:\/\/nowhere\/small: there is no bucket "nowhere"/);
    assert.equal(existsSync(user().at("nowhere")), false);
  });

  test("copies on the workers' disks are refused for what all of them share", limit, async () => {
    const { code, stderr } = await launch("copies", "--checkpoints", place, "--workers", "2", "--replicas", "1");
    assert.equal(code, 2, stderr);
    assert.match(stderr, /which all workers share.*--replicas 0/s);
  });

  test("what is no place in object storage is a wrong command line", limit, async () => {
    for (const text of ["s3://", "s3:bucket", `s3://${bucket}/../small`]) {
      const { code, stderr } = await launch("wrong", "--checkpoints", text);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /s3:\/\/BUCKET\/PREFIX was expected/);
    }
  });
});

function resultOf({ code, stdout, stderr }: Outcome): Readonly<Record<string, unknown>> {
  assert.equal(code, 0, stderr);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return lines.find(({ event }) => event === "finished")!;
}
