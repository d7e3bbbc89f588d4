/** The storage in object storage keeps the promises of every checkpoint storage, on a real S3 server. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { openS3Storage } from "../../src/adapters/s3/checkpoint-storage.ts";
import { isS3Location, parseS3Location } from "../../src/adapters/s3/location.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { CheckpointError } from "../../src/core/manifest.ts";
import type { CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Log } from "../../src/ports/log.ts";
import { filesBelow, importsOf, textOf } from "../architecture/sources.ts";
import { bucket, type Fate, secretKey, startTestS3, type TestS3 } from "../fixtures/s3.ts";
import { assertSameContent, checkpointStorageContract, content } from "./checkpoint-storage.contract.ts";

const started = await startTestS3();
const skip = "reason" in started ? started.reason : false;
// Where there is none, nothing that looks at it is run.
const s3 = started as TestS3;
/** The smallest that services take. */
const partSizeBytes = 5 * 1024 * 1024;
let prefixes = 0;

const settings = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
const surroundings = settings.map((name) => process.env[name]);

function set(changes: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

before(() => {
  if (!skip) set(s3.environment);
});
after(async () => {
  set(Object.fromEntries(settings.map((name, i) => [name, surroundings[i]])));
  if (!skip) await s3.stop();
});

function logInto(warnings: string[]): Log {
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: (message, fields = {}) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
    error: () => undefined,
    with: () => log,
  };
  return log;
}

/** A prefix that no other test uses. */
function newPrefix(): string {
  prefixes += 1;
  return `jobs/test-${prefixes}`;
}

function open(prefix = newPrefix(), warnings: string[] = [], attempts = 4) {
  return openS3Storage(`s3://${bucket}/${prefix}`, logInto(warnings), { partSizeBytes, attempts });
}

function large(count = 2_500_000) {
  return [{ name: "w", shape: [count], values: Float32Array.from({ length: count }, (_, i) => Math.sin(i)) }];
}

if (skip) test("S3", { skip }, () => {});
else {
  checkpointStorageContract("S3", async () => {
    const prefix = newPrefix();
    const warnings: string[] = [];
    const pathOf = (id: string, name: string) => join(s3.directory, prefix, id, name);
    return {
      storage: await open(prefix, warnings),
      warnings,
      readFile: async (id, name) => new Uint8Array(await readFile(pathOf(id, name))),
      replaceFile: async (id, name, bytes) => {
        await mkdir(join(s3.directory, prefix, id), { recursive: true });
        await writeFile(pathOf(id, name), bytes);
      },
      removeFile: (id, name) => rm(pathOf(id, name)),
    };
  });
}

const writeLarge = (storage: CheckpointStorage) => storage.write({ ...content("two"), weights: large() });

describe("S3", { skip }, () => {
  afterEach(() => s3.decide(() => "passes"));

  /** What is asked of the server while `act` runs: "PUT weights.safetensors", "POST weights.safetensors?uploads". */
  async function requestsOf(prefix: string, act: () => Promise<unknown>): Promise<readonly string[]> {
    const requests: string[] = [];
    s3.decide((request) => {
      const [method, url = ""] = request.split(" ");
      const { pathname, searchParams } = new URL(url, s3.endpoint);
      const place = pathname.startsWith(`/${bucket}/${prefix}/`) ? pathname.split("/").slice(5).join("/") : "";
      const what = ["uploads", "uploadId", "partNumber"].filter((name) => searchParams.has(name)).join("&");
      requests.push(`${method} ${place}${what && "?"}${what}`);
      return "passes";
    });
    await act();
    return requests;
  }

  test("the manifest is written last and removed first, and the condition is tried once", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    await storage.write(content("one"));
    const writing = await requestsOf(prefix, () => storage.write(content("two")));
    assert.deepEqual(writing, [
      "GET ",
      "PUT weights.safetensors",
      "PUT optimizer.safetensors",
      "PUT state.json",
      "PUT manifest.json",
      "GET manifest.json",
      "GET weights.safetensors",
      "GET optimizer.safetensors",
      "GET state.json",
    ]);
    const deleting = await requestsOf(prefix, () => storage.delete("two"));
    assert.deepEqual(deleting.slice(0, 2), ["GET ", "DELETE manifest.json"]);
    assert.equal(deleting.length, 5);
    assert.deepEqual(await readdir(join(s3.directory, prefix)), ["one"], "nothing else is left");
  });

  test("a large file is written in parts, and is there when all of them are", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    const one = { ...content("one"), weights: large() };
    const requests = await requestsOf(prefix, () => storage.write(one));
    const parts = requests.filter((request) => request === "PUT weights.safetensors?uploadId&partNumber");
    assert.equal(parts.length, 2, "10 MB in parts of 5 MiB");
    assert.equal(requests.filter((request) => request === "POST weights.safetensors?uploads").length, 1);
    assert.equal(requests.filter((request) => request === "POST weights.safetensors?uploadId").length, 1);
    assertSameContent(await storage.load("one"), one);
    // Two writers of large files: the second one to finish is refused, and its parts are thrown away.
    const outcomes = await Promise.allSettled(
      [1, 2].map((step) => storage.write({ ...one, ...content("two", { step }), weights: large() })),
    );
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    assert.equal((await storage.list()).length, 2);
  });

  for (const [what, pattern, weights] of [
    ["a small file", /^PUT .*weights\.safetensors/, undefined],
    ["the manifest", /^PUT .*manifest\.json/, undefined],
    ["a part", /^PUT .*partNumber=2/, large()],
    ["the end of a file in parts", /^POST .*uploadId/, large()],
    ["a deletion", /^DELETE .*manifest\.json/, undefined],
    ["the list", /^GET .*list-type/, undefined],
  ] as const) {
    test(`an answer that is lost, of ${what}: the request is repeated, and nothing is taken for another's`, async () => {
      const storage = await open();
      let lost = 0;
      const decide = (request: string): Fate => {
        if (lost > 0 || !pattern.test(request)) return "passes";
        lost += 1;
        return "loses-answer";
      };
      const one = { ...content("one"), ...(weights ? { weights } : {}) };
      s3.decide(decide);
      await storage.write(one);
      assertSameContent(await storage.load("one"), one);
      assert.equal((await storage.list()).length, 1);
      await storage.delete("one");
      assert.deepEqual(await storage.list(), []);
      assert.equal(lost, 1);
    });
  }

  test("a connection that breaks in the middle of a file is opened again where it broke", async () => {
    const storage = await open();
    const one = { ...content("one"), weights: large() };
    await storage.write(one);
    let broken = 0;
    s3.decide((request) => {
      if (broken === 3 || !/^GET .*weights/.test(request)) return "passes";
      broken += 1;
      return { answerBytes: 1_000_000 };
    });
    assertSameContent(await storage.load("one"), one);
    assert.equal(broken, 3);
    s3.decide((request) => (/^GET .*weights/.test(request) ? { answerBytes: 100 } : "passes"));
    await assert.rejects(
      storage.load("one"),
      (error) => error instanceof CheckpointError && error.problem === "unreadable",
    );
  });

  test("a writer that is cut off before any of its requests leaves a whole checkpoint or none", {
    timeout: 300_000,
  }, async () => {
    const prefix = newPrefix();
    const untouched = await open(prefix);
    await untouched.write(content("before", { step: 1 }));
    const outcomes: string[] = [];
    let begun = 0;
    for (let finished = false; !finished; ) {
      const writer = await open(prefix, [], 1);
      let left = outcomes.length;
      s3.decide(() => {
        left -= 1;
        // From here on it reaches nobody any more; its clean-up does not either.
        return left < 0 ? "cut" : "passes";
      });
      const id = `cut-${outcomes.length}`;
      const one = { ...content(id, { step: 2 }), weights: large(1_400_000) };
      finished = await writer.write(one).then(
        () => true,
        () => false,
      );
      s3.decide(() => "passes");
      const ids = (await untouched.list()).map((stored) => stored.id);
      assertSameContent(await untouched.load("before"), content("before", { step: 1 }));
      if (ids.includes(id)) assertSameContent(await untouched.load(id), one);
      const isWhole = ids.includes(id);
      const unfinished = await untouched.unfinished!();
      assert.ok(isWhole ? unfinished.length === 0 : unfinished.every((other) => other === id), unfinished.join());
      if (unfinished.length > 0) begun += 1;
      outcomes.push(isWhole ? "whole" : "none");
      await untouched.delete(id);
      assert.deepEqual(await readdir(join(s3.directory, prefix, id)).catch(() => []), [], "nothing is left of it");
    }
    assert.ok(begun > 5, "it was cut off in the middle; also while the condition was tried");
    assert.deepEqual(
      await readdir(join(s3.directory, prefix)).then((names) => names.filter((name) => !name.startsWith("."))),
      ["before"],
    );
    const firstWhole = outcomes.indexOf("whole");
    assert.ok(firstWhole > 8 && outcomes.length - firstWhole > 3, "it was cut off before the manifest and after it");
    assert.ok(
      outcomes.slice(firstWhole).every((outcome) => outcome === "whole"),
      "and not back again",
    );
  });

  async function refusal(act: Promise<unknown>): Promise<LockstepError> {
    const error: unknown = await act.then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof LockstepError, String(error));
    assert.match(error.message, /^[^\n]*\.$/, "one sentence");
    assert.ok(error.hint, "says what to do");
    assert.doesNotMatch(`${error.message} ${error.hint}`, new RegExp(secretKey));
    return error;
  }

  test("a bucket that is not there is said", async () => {
    const { message } = await refusal(openS3Storage("s3://nowhere/a", logInto([])));
    assert.match(message, /Cannot read s3:\/\/nowhere\/a: there is no bucket "nowhere" at http:\/\/127\.0\.0\.1/);
  });

  test("credentials that are wrong are said, and not told", async (context) => {
    context.after(() => set(s3.environment));
    set({ AWS_SECRET_ACCESS_KEY: `${secretKey}-not` });
    assert.match((await refusal(open())).message, /does not accept the credentials \(SignatureDoesNotMatch/);
    set({ AWS_ACCESS_KEY_ID: "nobody" });
    assert.match((await refusal(open())).message, /access key ID/);
  });

  for (const [what, pattern, act, says] of [
    ["the list", /^GET .*list-type/, (storage) => storage.list(), /^Cannot read s3:\/\/checkpoints\/jobs\/test-\d+: /],
    ["reading", /^GET .*weights/, (storage) => storage.load("one"), /^Cannot read s3:.*\/one\/weights\.safetensors: /],
    ["writing", /^PUT .*state/, (storage) => storage.write(content("two")), /^Cannot write s3:.*\/two\/state\.json: /],
    ["the end of an upload", /^POST .*uploadId/, writeLarge, /^Cannot write s3:.*\/two\/weights\.safetensors: /],
    ["deleting", /^DELETE .*manifest/, (storage) => storage.delete("one"), /^Cannot write s3:.*\/one: /],
  ] as readonly [string, RegExp, (storage: CheckpointStorage) => Promise<unknown>, RegExp][]) {
    test(`${what} that is not allowed is said in one sentence, with what to allow`, async () => {
      const storage = await open();
      await storage.write(content("one"));
      s3.decide((request) => (pattern.test(request) ? "denied" : "passes"));
      const { message, hint } = await refusal(act(storage));
      assert.match(message, says);
      assert.match(message, /: http:\/\/127\.0\.0\.1:\d+ denies the access \(AccessDenied, HTTP 403\)\.$/);
      assert.match(hint ?? "", /s3:ListBucket.*s3:GetObject, s3:PutObject, s3:DeleteObject/);
      s3.decide(() => "passes");
      assert.deepEqual(
        (await storage.list()).map(({ id }) => id),
        ["one"],
      );
      assertSameContent(await storage.load("one"), content("one"));
    });
  }

  test("a bucket that may not be listed is said before anything is written", async () => {
    s3.decide(() => "denied");
    assert.match((await refusal(open())).message, /^Cannot read s3:.* denies the access/);
  });

  test("a service that is not there is said, without the password in its address", async (context) => {
    context.after(() => set(s3.environment));
    // Nobody listens on a port that was just given back.
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo; // of a server that listens on TCP
    await new Promise((resolve) => server.close(resolve));
    set({ AWS_ENDPOINT_URL: `http://somebody:${secretKey}@127.0.0.1:${port}` });
    assert.match((await refusal(open())).message, new RegExp(`http://127\\.0\\.0\\.1:${port} cannot be reached`));
  });

  test("without region and endpoint it is asked for the region", async (context) => {
    context.after(() => set({ ...s3.environment, AWS_CONFIG_FILE: undefined }));
    set({ AWS_REGION: undefined, AWS_ENDPOINT_URL: undefined, AWS_CONFIG_FILE: "/dev/null" });
    assert.match((await refusal(open())).hint ?? "", /AWS_REGION/);
  });

  test("a service that ignores the condition of a write is not written to", async (context) => {
    context.after(() => set(s3.environment));
    const written: string[] = [];
    // It answers every request as if all were well.
    const server = createServer((request, response) => {
      request.resume().on("end", () => {
        if (request.method === "PUT") written.push(request.url ?? "");
        response.end(request.method === "GET" ? "<ListBucketResult></ListBucketResult>" : "");
      });
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    context.after(() => server.close());
    const { port } = server.address() as AddressInfo; // of a server that listens on TCP
    set({ AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` });
    const storage = await open();
    assert.match(
      (await refusal(storage.write(content("one")))).message,
      /ignores the condition of a conditional write/,
    );
    assert.ok(written.length === 2 && written.every((url) => url.includes("/.conditional-write-")), written.join());
    server.closeAllConnections();
  });
});

test("places in object storage are told from paths, and wrong ones are refused", () => {
  assert.ok(isS3Location("s3://b/p") && isS3Location("S3://b") && !isS3Location("s3/b") && !isS3Location("/s3://b"));
  assert.deepEqual(parseS3Location("s3://bucket"), { bucket: "bucket", prefix: "" });
  assert.deepEqual(parseS3Location("s3://bucket/"), { bucket: "bucket", prefix: "" });
  assert.deepEqual(parseS3Location("s3://my.bucket-1/a/b c/"), { bucket: "my.bucket-1", prefix: "a/b c" });
  for (const text of [
    "s3:",
    "s3://",
    "s3:///a",
    "s3:bucket",
    "s3://b/../c",
    "s3://b//c",
    "s3://bucket/a/../b",
    "s3://bucket//a",
    "s3://bucket/a?b",
    "s3://user:x@bucket/a",
  ]) {
    assert.throws(
      () => parseS3Location(text),
      (error) => error instanceof LockstepError && error.code === "usage",
      text,
    );
  }
});

test("whoever needs no object storage does not load its library", () => {
  for (const file of filesBelow("src", ".ts")) {
    const eager = importsOf(textOf(file)).filter(
      ({ specifier, typeOnly }) => !typeOnly && specifier.startsWith("@aws-sdk/"),
    );
    const dynamic = /await import\("@aws-sdk/.test(textOf(file));
    assert.equal(eager.length > 0, dynamic, `${file} imports it only when it is needed`);
    if (dynamic) assert.equal(file, "src/adapters/s3/object-store.ts");
  }
});
