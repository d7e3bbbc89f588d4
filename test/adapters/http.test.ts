/** The HTTP server of a process: what is for everybody, what only this machine sees, and what a token opens. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Http, sendText, serveHttp } from "../../src/adapters/http/server.ts";
import { HttpToken } from "../../src/adapters/http/token.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { Refusals } from "../../src/core/refusals.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";
import { testFolder } from "../fixtures/running-launch.ts";

const secret = "0123456789abcdef0123456789abcdef";

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

async function served(context: TestContext, { listen = "127.0.0.1:0", token = null as HttpToken | null } = {}) {
  const refused: string[] = [];
  const refusals = new Refusals(({ kind, count }) => refused.push(`${kind} ${count}`));
  const lines: string[] = [];
  const log = createLog({ stream: { write: (line: string) => lines.push(line) }, format: "json", level: "info" });
  const http = await serveHttp({ listen, token, refusals, log });
  context.after(() => http.close());
  http.route("/data", ({ response }) => sendText(response, 200, "data"));
  http.route("/", ({ response, url }) => sendText(response, 200, `page ${url.pathname}`));
  http.route("/api/things/", ({ response, url }) => sendText(response, 200, `did ${url.pathname}`), "POST");
  http.route("/broken", () => Promise.reject(new Error("on purpose")));
  return { http, refused, refusals, lines };
}

function ask(http: Http, path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
  const { port } = new URL(`http://${http.address}`);
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, text: text.trim(), headers: response.headers }));
    })
      .on("error", reject)
      .end();
  });
}

test("health is told to everybody, and readiness with the reason why not", async (context) => {
  const { http } = await served(context, { listen: "127.1:0" });
  const strange = { host: "rebound.example.org" };
  assert.equal((await ask(http, "/livez", strange)).text, "ok");
  const starting = await ask(http, "/readyz", strange);
  assert.deepEqual([starting.status, starting.text], [503, "it is starting"]);
  http.note(null);
  assert.equal((await ask(http, "/readyz", strange)).status, 200);
});

test("on loopback without a token this machine sees everything, and a page of the web nothing", async (context) => {
  const { http, refused } = await served(context);
  const data = await ask(http, "/data");
  assert.deepEqual([data.status, data.text], [200, "data"]);
  assert.match(String(data.headers["content-security-policy"]), /^default-src 'self';/);
  assert.equal(data.headers["x-content-type-options"], "nosniff");
  assert.equal(data.headers["cache-control"], "no-store");
  assert.equal((await ask(http, "/data", { host: "localhost:8080" })).status, 200);
  const rebound = await ask(http, "/data", { host: "rebound.example.org" });
  assert.equal(rebound.status, 403);
  assert.match(rebound.text, /The Host header says "rebound\.example\.org"/);

  const things = "/api/things/7/pin";
  assert.equal((await ask(http, things, {}, "POST")).text, `did ${things}`);
  assert.equal((await ask(http, things, { origin: `http://${http.address}`, host: http.address }, "POST")).status, 200);
  assert.equal((await ask(http, things, { origin: "https://evil.example.org" }, "POST")).status, 403);
  assert.equal((await ask(http, things, { origin: "null" }, "POST")).status, 403);
  assert.deepEqual(refused, ["HTTP by a foreign name 1", "HTTP from another page 1"]);
});

test("the longest route that fits is asked, with its own methods only", async (context) => {
  const { http, lines } = await served(context);
  assert.equal((await ask(http, "/data/more")).text, "page /data/more");
  assert.equal((await ask(http, "/data", {}, "HEAD")).text, "");
  const wrong = await ask(http, "/api/things/7");
  assert.deepEqual([wrong.status, wrong.headers.allow], [405, "POST"]);
  assert.equal((await ask(http, "/data", {}, "POST")).status, 405);
  assert.equal((await ask(http, "/livez", {}, "POST")).status, 405);
  assert.equal((await ask(http, "/broken?secret=1")).status, 500);
  const { path, error } = JSON.parse(lines.at(-1)!) as { path: string; error: string };
  assert.deepEqual([path, error], ["/broken", "on purpose"]);
});

test("beyond this machine nothing but health is served without a token", async (context) => {
  // A loopback address that is not written as one, as any other is.
  const { http } = await served(context, { listen: "127.1:0" });
  const { status, text } = await ask(http, "/data");
  assert.equal(status, 401);
  assert.match(text, /start the process with --http-token FILE/);
  assert.equal((await ask(http, "/nothing-at-all")).status, 401, "nor is it said what there is");
});

test("with a token whoever shows it is served, and wrong ones are counted", async (context) => {
  const file = join(await testFolder(context), "token");
  await writeFile(file, `${secret}\n`);
  const clock = new ManualClock();
  const { http, refused, refusals } = await served(context, { token: await HttpToken.open(file, clock) });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  assert.equal((await ask(http, "/data", bearer(secret))).status, 200);
  const missing = await ask(http, "/data");
  assert.deepEqual([missing.status, missing.headers["www-authenticate"]], [401, "Bearer"]);
  for (let i = 0; i < 12; i++) assert.equal((await ask(http, "/data", bearer(`${secret}${i}`))).status, 401);
  assert.deepEqual(refused, ["HTTP without the token 1", "wrong HTTP token 1", "wrong HTTP token 10"]);
  assert.equal(refusals.counts["wrong HTTP token"], 12);

  const wrong = await ask(http, "/?token=wrong");
  assert.deepEqual([wrong.status, wrong.headers["set-cookie"]], [401, undefined]);
  const opened = await ask(http, `/?token=${secret}`);
  assert.deepEqual([opened.status, opened.headers.location], [303, "/"]);
  const set = String(opened.headers["set-cookie"]);
  assert.match(set, /; HttpOnly; SameSite=Strict; Path=\/$/);
  assert.ok(!set.includes(secret), "the browser does not keep the token itself");
  const cookie = `other=1; ${set.split(";")[0]}`;
  assert.equal((await ask(http, "/data", { cookie })).status, 200);
  assert.equal((await ask(http, "/data", { cookie: `${cookie}0` })).status, 401);

  await writeFile(file, `${secret.toUpperCase()}\n`);
  await clock.advance(1000);
  assert.equal((await ask(http, "/data", bearer(secret))).status, 401, "a replaced token opens nothing");
  assert.equal((await ask(http, "/data", { cookie })).status, 401, "nor does a cookie that was given for it");
  assert.equal((await ask(http, "/data", bearer(secret.toUpperCase()))).status, 200);
});

test("a file without a token in it is refused", async (context) => {
  const file = join(await testFolder(context), "token");
  const isUsage = (error: unknown) => error instanceof LockstepError && error.code === "usage";
  await assert.rejects(HttpToken.open(file, new ManualClock()), isUsage);
  for (const text of ["", "short\n", "two words that are long enough\n"]) {
    await writeFile(file, text);
    await assert.rejects(HttpToken.open(file, new ManualClock()), isUsage, JSON.stringify(text));
  }
});
