/** A program's own mistakes in hearing events are its own, and end nothing else. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { RunEvent } from "../../src/core/run-events.ts";
import { RunEventHub } from "../../src/runtime/run-event-hub.ts";

const message = (text: string): RunEvent => ({ type: "message", text });

test("who asks for several events at once has them in order, and the end", async () => {
  const hub = new RunEventHub();
  const events = hub[Symbol.asyncIterator]();
  const asked = [events.next(), events.next(), events.next()];
  hub.tell(message("a"));
  hub.tell(message("b"));
  hub.end(null);
  const [a, b, end] = await Promise.all(asked);
  assert.deepEqual([a?.value, b?.value, end?.done], [message("a"), message("b"), true]);
});

test("a listener that throws keeps nobody from an event, and the program from nothing but its own error", async () => {
  const program = `import { RunEventHub } from ${JSON.stringify(fileURLToPath(new URL("../../src/runtime/run-event-hub.ts", import.meta.url)))};
process.on("uncaughtException", ({ message }) => console.log("uncaught " + message));
const hub = new RunEventHub();
hub.on("message", () => { throw new Error("mine"); });
hub.on("message", ({ text }) => console.log("heard " + text));
hub.tell({ type: "message", text: "a" });
console.log("told");
`;
  const stdout = await new Promise<string>((resolve) => {
    const words = ["--import", "tsx", "--input-type=module", "--eval", program];
    execFile(process.execPath, words, (_error, out, err) => resolve(out + err));
  });
  assert.equal(stdout, "heard a\ntold\nuncaught mine\n");
});
