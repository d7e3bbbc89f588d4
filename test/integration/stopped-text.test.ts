import assert from "node:assert/strict";
import { mkdtemp, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openDirectoryStorage } from "../../src/adapters/fs/checkpoint-storage.ts";
import { stoppedText } from "../../src/cli/stopped-text.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { Log } from "../../src/ports/log.ts";
import { content } from "../contract/checkpoint-storage.contract.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };

test("a launch that was stopped says what is saved, unless hands were on it since", async (context) => {
  const checkpoints = await mkdtemp(join(tmpdir(), "lockstep-stopped-"));
  context.after(() => rm(checkpoints, { recursive: true, force: true }));
  const storage = await openDirectoryStorage(checkpoints, quiet);
  const { location } = await storage.write(content("one"));
  const latest = { id: "one", step: 30 } as CheckpointPointer; // all that is read of it
  const goOn = { words: ["job.ts"], epochs: null };
  const says = (byUser: boolean, reason = "Ctrl-C") => stoppedText({ latest, reason }, { byUser, goOn, checkpoints });
  assert.equal(await says(true), "Stopped: step 30 is saved. Go on with: npx lockstep launch job.ts");
  assert.match(await says(false, "asked elsewhere"), /^Stopped \(asked elsewhere\): step 30 is saved\./);
  assert.match(
    await stoppedText({ latest: null, reason: "" }, { byUser: true, goOn, checkpoints }),
    /nothing was trained yet/,
  );
  await unlink(join(location, "weights.safetensors"));
  assert.match(
    await says(true),
    /^Stopped: step 30 was saved, and is not whole any more \(.*weights\.safetensors.*\); there is no other one: put it back/,
  );
  await storage.write(content("two"));
  assert.match(await says(true), /; the next start goes on from an earlier one\. Go on with: npx/);
  await rm(location, { recursive: true });
  assert.match(await says(true), /is not whole any more \(There is no checkpoint "one" in /);
});
