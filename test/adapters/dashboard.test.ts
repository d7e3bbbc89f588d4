/** The dashboard over HTTP, with a view that the test makes. The pages themselves are in test/integration/dashboard.test.ts. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { serveDashboard } from "../../src/adapters/http/dashboard.ts";
import { readPage } from "../../src/adapters/http/page.ts";
import { serveHttp } from "../../src/adapters/http/server.ts";
import type { DashboardView } from "../../src/core/dashboard-view.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { decodeJson } from "../../src/core/json.ts";
import { Refusals } from "../../src/core/refusals.ts";
import type { Patch } from "../../src/core/view-feed.ts";
import type { DashboardSource } from "../../src/ports/dashboard.ts";
import type { Log } from "../../src/ports/log.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const limit = { timeout: 20_000 };

function viewAt(state: string, epochs: number): DashboardView {
  const items = Array.from({ length: epochs }, (_, i) => ({
    ...{ epoch: i + 1, step: i + 1, metrics: { loss: i === 2 ? Number.NaN : i }, improved: false },
  }));
  return {
    ...{ status: { state }, timeline: [], checkpoints: { rows: [] }, health: {} },
    ...{ history: { first: 0, items }, rates: { first: 0, items: [] }, decisions: { first: 0, items: [] } },
  } as unknown as DashboardView; // nobody looks into the sections
}

async function serving(
  context: TestContext,
  source: Partial<DashboardSource> & Pick<DashboardSource, "view">,
  pageFolder = "/nowhere",
) {
  const clock = new ManualClock();
  const http = await serveHttp({ listen: "127.0.0.1:0", token: null, refusals: new Refusals(() => {}), log: quiet });
  const whole: DashboardSource = { setPinned: null, download: null, ...source };
  const served = serveDashboard({ http, source: whole, clock, page: () => readPage(pageFolder), boot: "one" });
  context.after(async () => {
    await served.close();
    http.close();
  });
  return { clock, url: `http://${http.address}`, served };
}

/** The events of a stream, as they come. */
async function listen(context: TestContext, url: string, lastEventId?: string) {
  const over = new AbortController();
  context.after(() => over.abort());
  const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
  const response = await fetch(`${url}/api/events`, { signal: over.signal, headers });
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const next = async (): Promise<{ id: string | null; event: string; patches: readonly Patch[] }> => {
    for (;;) {
      const end = text.indexOf("\n\n");
      if (end >= 0) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        if (field("data") === undefined) continue; // how soon to come again
        const patches = decodeJson<readonly Patch[]>(field("data")!);
        return { id: field("id") ?? null, event: field("event") ?? "message", patches };
      }
      const { value, done } = await reader.read();
      assert.ok(!done, "the stream goes on");
      text += value;
    }
  };
  return { next, close: () => over.abort() };
}

test(
  "a page is told everything at first, then what is new, and after a break what it missed",
  limit,
  async (context) => {
    let view = viewAt("forming", 1);
    const { clock, url } = await serving(context, { view: async () => view });
    const first = await listen(context, url);
    const whole = await first.next();
    assert.equal(whole.patches.length, 7);
    view = viewAt("training", 3);
    await clock.advance(1000);
    const { patches, id } = await first.next();
    assert.deepEqual(patches, [
      { section: "status", value: { state: "training" } },
      { section: "history", first: 0, from: 1, items: view.history.items.slice(1) },
    ]);
    first.close();
    const again = await listen(context, url, whole.id!);
    assert.deepEqual((await again.next()).patches, patches, "what came after the first message");
    const stranger = await listen(context, url, id!.replace("one", "another"));
    assert.equal((await stranger.next()).patches.length, 7, "versions of another process mean nothing");
  },
);

test(
  "the source is asked once a second, however many look, and not at all while nobody does",
  limit,
  async (context) => {
    let asked = 0;
    const view = async () => {
      asked += 1;
      return viewAt("training", asked);
    };
    const { clock, url } = await serving(context, { view });
    await clock.advance(60_000);
    assert.equal(asked, 0, "nobody looks");
    const pages = await Promise.all([1, 2, 3].map(() => listen(context, url)));
    for (const page of pages) await page.next();
    const before = asked;
    for (let second = 1; second <= 5; second += 1) {
      await clock.advance(1000);
      for (const page of pages) await page.next();
    }
    assert.equal(asked, before + 5);
  },
);

test("that the view is not to be had is told, and that it is again", limit, async (context) => {
  let isAway = true;
  const view = async () => {
    if (isAway) throw new LockstepError("coordination-unavailable", "etcd is away.");
    return viewAt("training", 1);
  };
  const { clock, url } = await serving(context, { view });
  const page = await listen(context, url);
  assert.deepEqual(await page.next(), { id: null, event: "trouble", patches: "etcd is away." as never });
  assert.equal((await fetch(`${url}/api/view`)).status, 503);
  isAway = false;
  await clock.advance(1000);
  assert.deepEqual((await page.next()).patches, null as never);
  assert.equal((await page.next()).patches.length, 7);
});

test("who looks while the server is closed is told first how it has ended", limit, async (context) => {
  let view = viewAt("training", 1);
  const { url, served } = await serving(context, { view: async () => view });
  const page = await listen(context, url);
  await page.next();
  view = viewAt("finished", 1);
  await served.close();
  assert.deepEqual((await page.next()).patches, [{ section: "status", value: { state: "finished" } }]);
});

test("a checkpoint is pinned and downloaded, and a refusal says why", limit, async (context) => {
  const asked: unknown[] = [];
  const { url } = await serving(context, {
    view: async () => viewAt("training", 1),
    setPinned: async (id, isPinned) => {
      asked.push([id, isPinned]);
      if (id === "gone") throw new LockstepError("usage", "It is condemned.", { hint: "Take another." });
    },
    download: async (id) => ({ name: `${id}.safetensors`, sizeBytes: 3, parts: [Buffer.from("ab"), Buffer.from("c")] }),
  });
  const post = (path: string, headers = {}) => fetch(`${url}${path}`, { method: "POST", headers });
  assert.equal((await post("/api/checkpoints/one-1/pin")).status, 200);
  assert.equal((await post("/api/checkpoints/one-1/unpin", { origin: url })).status, 200);
  assert.equal((await post("/api/checkpoints/one-1/pin", { origin: "http://other.example" })).status, 403);
  assert.equal((await post("/api/checkpoints/..%2fx/pin")).status, 404);
  const refused = await post("/api/checkpoints/gone/pin");
  assert.deepEqual(
    [refused.status, await refused.json()],
    [409, { message: "It is condemned.", hint: "Take another." }],
  );
  assert.deepEqual(asked, [
    ["one-1", true],
    ["one-1", false],
    ["gone", true],
  ]);
  const weights = await fetch(`${url}/api/checkpoints/one-1/export`);
  assert.equal(weights.headers.get("content-disposition"), 'attachment; filename="one-1.safetensors"');
  assert.equal(await weights.text(), "abc");
});

test("a page that was not built says how to build it, and is there once it is built", limit, async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-page-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const { url } = await serving(context, { view: async () => viewAt("training", 1) }, folder);
  const response = await fetch(url);
  assert.equal(response.status, 503);
  assert.match(await response.text(), /`npm run build`/);
  assert.equal(await readPage(folder), null);
  await writeFile(join(folder, "index.html"), "<p>");
  assert.deepEqual([...(await readPage(folder))!.keys()], ["/index.html", "/"]);
  assert.equal(await (await fetch(url)).text(), "<p>");
});
