import assert from "node:assert/strict";
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { findSection, linesOf, sectionHead } from "../../src/adapters/fs/process-log.ts";
import { createLog, entryText } from "../../src/adapters/system/log.ts";

test("a log has one section a start: the newest may grow, the one before it is over", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-log-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "worker-0.log");
  const section = async (which: "newest" | "previous") => {
    const found = await findSection(path, which);
    if (!found) return null;
    const lines: string[] = [];
    for await (const line of linesOf(path, found)) lines.push(line);
    return lines;
  };
  const head = (hour: number) => sectionHead("worker-0", new Date(Date.UTC(2026, 0, 31, hour)));
  await writeFile(path, "");
  assert.deepEqual([await section("newest"), await section("previous")], [null, null]);
  await appendFile(path, "written by an older one\n");
  assert.deepEqual([await section("newest"), await section("previous")], [["written by an older one"], null]);
  await appendFile(path, `${head(1)}\nzwölf\n`);
  assert.deepEqual(await section("newest"), [head(1), "zwölf"]);
  assert.deepEqual(await section("previous"), ["written by an older one"]);
  await appendFile(path, `${head(2)}\n`);
  assert.deepEqual([await section("newest"), await section("previous")], [[head(2)], [head(1), "zwölf"]]);
});

test("a logged line reads as it would have been written for people, and a foreign one as it is", () => {
  const line = '{"time":"2026-01-31T12:03:04.567Z","level":"warn","message":"slow","worker":"w","rank":2}';
  assert.match(entryText(line), /^\d\d:03:04 warn {2}slow {2}worker=w rank=2$/);
  assert.match(entryText(line, ["worker"]), / slow {2}rank=2$/);
  for (const other of ["tensorflow says hello", "{broken", '{"level":"info"}']) assert.equal(entryText(other), other);
});

test("a JSON line carries what is known of the process at that moment, unless it says otherwise; text does not", () => {
  const written: string[] = [];
  const stream = { write: (text: string) => written.push(text) };
  const known = { job: "digits", step: 1 };
  const log = createLog({ stream, format: "json", level: "info", context: () => known });
  const inside = log.with({ worker: "a" });
  inside.info("one", { rank: 2 });
  known.step = 7;
  inside.warn("two", { step: 8, reason: "it wants to" });
  inside.debug("three");
  createLog({ stream, format: "text", level: "info", context: () => known }).info("four", { rank: 2 });
  const [one, two, four, ...others] = written;
  const { time: _, ...first } = JSON.parse(one!);
  assert.deepEqual(first, { level: "info", message: "one", worker: "a", rank: 2, job: "digits", step: 1 });
  const { step, reason, level } = JSON.parse(two!);
  assert.deepEqual([step, reason, level], [8, "it wants to", "warn"]);
  assert.match(four!, / four {2}rank=2\n$/);
  assert.deepEqual(others, []);
});
