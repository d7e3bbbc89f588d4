/**
 * Wrong input gets one clear sentence, its exit code, and nothing half-started. Each case is what a user may type, in a
 * folder that holds a small job and its data; all but the last ones end before anything has been started.
 */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { after, before, describe, test } from "node:test";
import { type ErrorCode, exitCodes } from "../../src/core/errors.ts";
import { type Outcome, type User, useUser } from "../fixtures/cli.ts";
import { startTestEtcd, type TestEtcd } from "../fixtures/etcd.ts";

const limit = { timeout: 180_000 };

/** A small regression; each option replaces one of its lines. */
function jobFile(
  options: { data?: string; test?: string; monitor?: string; batchSize?: number; units?: number; model?: string } = {},
): string {
  const { data = 'csv("good.csv", { label: "y" })', test, monitor = "val_loss", batchSize = 4, units = 1 } = options;
  const { model = `[tf.layers.dense({ units: ${units}, inputShape: [...features] })]` } = options;
  return `import { csv, defineJob, oneHot } from "lockstep";
export default defineJob({
  name: "small",
  data: ${data},${test === undefined ? "" : `\n  test: ${test},`}
  validation: { fraction: 0.25 },
  model: (tf, { features }) => tf.sequential({ layers: ${model} }),
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "meanSquaredError" },
  checkpoint: { monitor: "${monitor}", mode: "min" },
  batchSize: ${batchSize},
  epochs: 1,
});
`;
}

const table = (rows: readonly string[]) => ["a,b,y", ...rows, ""].join("\n");
const goodRows = Array.from({ length: 8 }, (_, i) => `${i},${i % 3},${2 * i}`);
/** Line 1 is the header. */
const goodTable = table(goodRows);
const raggedTable = table([...goodRows.slice(0, 4), "1,2", ...goodRows.slice(5)]);
const wordyTable = table([...goodRows.slice(0, 6), "1,two,3", ...goodRows.slice(7)]);

interface WrongInput {
  readonly what: string;
  readonly args: readonly string[];
  readonly code: ErrorCode;
  /** What the sentence, or the hint after it, must say. */
  readonly says: readonly (string | RegExp)[];
  /** Files beside the good ones. */
  readonly files?: Readonly<Record<string, string>>;
}

const launch = (...args: string[]) => ["launch", "job.ts", "--engine", "cpu", ...args];

const cases: readonly WrongInput[] = [
  { what: "no job file of that name", args: ["launch", "missing.ts"], code: "invalid-job", says: ["missing.ts"] },
  {
    what: "a number of etcd members that survives no more than fewer do",
    args: launch("--etcd-members", "2"),
    code: "usage",
    says: ['--etcd-members is "2"; one of 1, 3 was expected'],
  },
  {
    what: "a worker that strangers could reach, without certificates",
    args: ["worker", "job.ts", "--etcd", "http://127.0.0.1:1", "--checkpoints", "c", "--listen", "0.0.0.0:0"],
    code: "usage",
    says: ["--listen is 0.0.0.0:0, where other machines reach this process", "--tls DIR", "--insecure"],
  },
  {
    what: "a token that anybody would guess",
    args: ["coordinator", "job.ts", "--etcd", "http://127.0.0.1:1", "--http", "127.0.0.1:0", "--http-token", "token"],
    code: "usage",
    says: ["--http-token names", "holds no token: 16 or more letters", "openssl rand -hex 32"],
    files: { token: "secret\n" },
  },
  {
    what: "the dashboard of a job that is not running and has left nothing",
    args: ["dashboard", "nothing"],
    code: "usage",
    says: ['There is no job "nothing"'],
  },
  {
    what: "the dashboard of a folder without a job",
    args: ["dashboard", "elsewhere"],
    code: "usage",
    says: ["There is no job", "elsewhere", "its folder, or the folder of one of its runs was expected"],
  },
  {
    what: "a picture into a folder that is not there",
    args: ["plot", "digits", "--out", "nowhere/curve.svg"],
    code: "usage",
    says: ['--out is "nowhere/curve.svg", and', "nowhere is not there", "Make that folder"],
  },
  {
    what: "a picture of several runs into a folder that is a file",
    args: ["compare", "digits", "tuned", "--out", "job.ts/both.png"],
    code: "usage",
    says: ['--out is "job.ts/both.png", and', "job.ts is no folder"],
  },
  {
    what: "a picture on a scale that there is not",
    args: ["plot", "digits", "--out", "curve.svg", "--scale", "ln"],
    code: "usage",
    says: ['--scale is "ln"; linear, log or auto was expected'],
  },
  {
    what: "a coordinator without a port",
    args: ["status", "--coordinator", "elsewhere"],
    code: "usage",
    says: ['--coordinator is "elsewhere"; an address such as 127.0.0.1:7070 was expected'],
  },
  {
    what: "a coordinator where none is",
    args: ["status", "--coordinator", "127.0.0.1:1"],
    code: "coordination-unavailable",
    says: ["The coordinator at 127.0.0.1:1 does not answer: connect ECONNREFUSED 127.0.0.1:1."],
  },
  {
    what: "the dashboard of no job at all",
    args: ["dashboard", "--run", "2"],
    code: "usage",
    says: ["Which job is meant?", "none was launched in this folder"],
  },
  {
    what: "a token for nothing",
    args: ["worker", "job.ts", "--etcd", "http://127.0.0.1:1", "--checkpoints", "c", "--http-token", "token"],
    code: "usage",
    says: ["--http is missing"],
  },
  {
    what: "a coordinator whose certificates are not there",
    args: ["coordinator", "job.ts", "--etcd", "https://127.0.0.1:1", "--tls", "nowhere"],
    code: "bad-certificate",
    says: [/nowhere\/(ca\.crt|tls\.crt|tls\.key) cannot be read/, "lockstep certs issue"],
  },
  {
    what: "a failure budget below what etcd's leases allow",
    args: launch("--failure-budget", "2"),
    code: "usage",
    says: ["(--failure-budget) is 2 s; at least 3 s was expected"],
  },
  {
    what: "fewer at most than at least",
    args: launch("--workers", "3:2"),
    code: "usage",
    says: ['--workers is "3:2"'],
  },
  {
    what: "fewer than no spares",
    args: launch("--spares", "-1"),
    code: "usage",
    says: ['--spares is "-1"; a whole number of at least 0 was expected'],
  },
  {
    what: "more workers than shards, for a coordinator whose etcd does not answer",
    args: ["coordinator", "job.ts", "--etcd", "http://127.0.0.1:1", "--workers", "5", "--shards", "2"],
    code: "usage",
    says: ["5 workers cannot share 2 shards", "at most 2 workers"],
  },
  {
    what: "a job file that does not compile",
    args: ["launch", "job.ts"],
    code: "invalid-job",
    says: ["job.ts, line 1"],
    files: { "job.ts": "export default {{;\n" },
  },
  {
    what: "a data file that is not there",
    args: launch(),
    code: "invalid-data",
    says: ["absent.csv"],
    files: { "job.ts": jobFile({ data: 'csv("absent.csv", { label: "y" })' }) },
  },
  {
    what: "a test file that is not there",
    args: launch(),
    code: "invalid-data",
    says: ["absent.csv"],
    files: { "job.ts": jobFile({ test: 'csv("absent.csv", { label: "y" })' }) },
  },
  {
    what: "a label column that is not there",
    args: launch(),
    code: "invalid-data",
    says: ["good.csv", '"z"', '"y"'],
    files: { "job.ts": jobFile({ data: 'csv("good.csv", { label: "z" })' }) },
  },
  {
    what: "a row with fewer cells than the header",
    args: launch(),
    code: "invalid-data",
    says: ["good.csv", "line 6", /\b2\b/, /\b3\b/],
    files: { "good.csv": raggedTable },
  },
  {
    what: "a cell that is no number",
    args: launch(),
    code: "invalid-data",
    says: ["good.csv", "line 8", '"two"', '"b"'],
    files: { "good.csv": wordyTable },
  },
  {
    what: "fewer training samples than shards",
    args: launch("--shards", "7"),
    code: "invalid-data",
    says: [/\b6 training samples\b/, /\b7 shards\b/],
    files: { "job.ts": jobFile({ batchSize: 8 }) },
  },
  {
    what: "a batch with fewer samples than shards",
    args: launch("--shards", "3"),
    code: "invalid-job",
    says: [/\bbatchSize is 2\b/, /\b3 shards\b/],
    files: { "job.ts": jobFile({ batchSize: 2 }) },
  },
  {
    what: "a monitor that the job never computes",
    args: launch(),
    code: "invalid-job",
    says: ["checkpoint.monitor", '"val_accuracy"', '"val_loss"'],
    files: { "job.ts": jobFile({ monitor: "val_accuracy" }) },
  },
  {
    what: "a model whose output does not fit the label",
    args: launch(),
    code: "invalid-job",
    says: ["output", "[2]", "label", "[]"],
    files: { "job.ts": jobFile({ units: 2 }) },
  },
  {
    what: "a model that throws while it is made",
    args: launch(),
    code: "invalid-job",
    says: ["job.ts, line 6: `model` threw Expected units to be a positive integer"],
    files: { "job.ts": jobFile({ model: "[tf.layers.dense({ units: -1, inputShape: [...features] })]" }) },
  },
  {
    what: "a layer that throws when it computes",
    args: launch(),
    code: "invalid-job",
    says: ["job.ts, line 6: The model fails in a step: RangeError: no such day"],
    files: {
      "job.ts": jobFile({
        model: `[tf.layers.dense({ units: 1, inputShape: [...features] }), new (class Day extends tf.layers.Layer { static className = "Day"; call() { throw new RangeError("no such day"); } })({})]`,
      }),
    },
  },
  {
    what: "a stateful layer without a batch size",
    args: launch(),
    code: "invalid-job",
    says: ["job.ts", "is stateful", "stateful: true"],
    files: {
      "job.ts": jobFile({
        model: `[tf.layers.reshape({ targetShape: [2, 1], inputShape: [2] }), tf.layers.lstm({ units: 1, stateful: true })]`,
      }),
    },
  },
  {
    what: "a stateful layer",
    args: launch(),
    code: "invalid-job",
    says: ["job.ts", "is stateful", "stateful: true"],
    files: {
      "job.ts": jobFile({
        model: `[tf.layers.reshape({ targetShape: [2, 1], batchInputShape: [2, 2] }), tf.layers.lstm({ units: 1, stateful: true })]`,
      }),
    },
  },
  { what: "zero workers", args: launch("--workers", "0"), code: "usage", says: ["--workers", '"0"', "at least 1"] },
  {
    what: "workers that are no number",
    args: launch("--workers", "three"),
    code: "usage",
    says: ["--workers", '"three"'],
  },
  {
    what: "more workers than shards",
    args: launch("--workers", "4", "--shards", "3"),
    code: "usage",
    says: [/\b4 workers\b/, /\b3 shards\b/],
  },
  {
    what: "a GPU where there is none",
    args: ["launch", "job.ts", "--device", "gpu"],
    code: "engine-unavailable",
    says: [/GPU/],
  },
  {
    what: "a GPU for an engine that knows none",
    args: launch("--device", "gpu"),
    code: "engine-unavailable",
    says: ['"cpu"', '"gpu"'],
  },
  {
    what: "an engine that there is not",
    args: ["launch", "job.ts", "--engine", "jax"],
    code: "usage",
    says: ['"jax"', "native"],
  },
  { what: "an unknown option", args: launch("--worker", "3"), code: "usage", says: ["--worker", "--workers"] },
  {
    what: "an option without its value",
    args: ["launch", "job.ts", "--workers"],
    code: "usage",
    says: ["--workers needs a value"],
  },
  { what: "an unknown command", args: ["lunch", "job.ts"], code: "usage", says: ['"lunch"', "lockstep"] },
  { what: "a launch of nothing", args: ["launch"], code: "usage", says: ["JOB.ts"] },
  { what: "two jobs at once", args: ["launch", "job.ts", "job.ts"], code: "usage", says: ["one argument"] },
  {
    what: "a name that would leave the runs' folder",
    args: launch("--job", "../escape"),
    code: "usage",
    says: ["--job", '"../escape"'],
  },
  {
    what: "an etcd that is no URL",
    args: launch("--etcd", "localhost"),
    code: "usage",
    says: ["--etcd", '"localhost"'],
  },
  {
    what: "a wish that resume does not know",
    args: launch("--resume", "newer"),
    code: "usage",
    says: ["--resume", '"newer"', "never"],
  },
  {
    what: "the status of a job that nobody launched",
    args: ["status", "--job", "other"],
    code: "usage",
    says: ['"other"'],
  },
  { what: "the status of nothing", args: ["status"], code: "usage", says: ["No job is running"] },
  {
    what: "more workers than fit into this machine's memory",
    args: ["check", "job.ts", "--shards", "2", "--workers", "1000000"],
    code: "out-of-memory",
    says: ["a worker needs", "for gradients", "1,000,000 workers need", "this machine has", "fewer workers"],
  },
  { what: "a worker without etcd", args: ["worker", "job.ts", "--checkpoints", "c"], code: "usage", says: ["--etcd"] },
  {
    what: "a worker without a place for checkpoints",
    args: ["worker", "job.ts", "--etcd", "http://127.0.0.1:1"],
    code: "usage",
    says: ["--checkpoints"],
  },
  {
    what: "an address that is none",
    args: ["coordinator", "job.ts", "--etcd", "http://127.0.0.1:1", "--listen", "7000"],
    code: "usage",
    says: ["--listen", '"7000"'],
  },
];

/** Commands that print JSON lines when asked to. */
const knowsJson = (args: readonly string[]) => args[0] === "launch" || args[0] === "status";

/** One sentence, perhaps a hint; no stack, and nothing on standard output but JSON lines where those were asked for. */
function assertRefused(
  { code, stdout, stderr }: Outcome,
  expected: ErrorCode,
  says: readonly (string | RegExp)[],
): void {
  assert.equal(code, exitCodes[expected], stderr);
  // Before it, `launch` may have told how far it got; a worker's or coordinator's log lines are JSON.
  const lines = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  const [sentence = "", ...hints] = lines.slice(lines.findIndex((line) => line.startsWith("lockstep: ")));
  assert.match(sentence, /^lockstep: \S.*[.?!]$/, "a whole sentence");
  assert.ok(
    hints.length <= 1 && hints.every((hint) => /^ {2}\S.*[.?!`]$/.test(hint)),
    `a sentence and a hint:\n${stderr}`,
  );
  assert.doesNotMatch(stderr, /^\s+at |^E /m, "neither a stack nor a library's own words");
  for (const part of says) {
    const found = typeof part === "string" ? stderr.includes(part) : part.test(stderr);
    assert.ok(found, `${part} is not in: ${stderr}`);
  }
  for (const line of stdout.split("\n").filter((text) => text !== "")) {
    assert.equal((JSON.parse(line) as { event: string }).event, "message", line);
  }
}

/** Everything in the user's folder but what belongs to the test's own set-up. */
async function files(user: User): Promise<string[]> {
  return (await readdir(user.folder, { recursive: true })).filter((name) => !name.startsWith("home")).sort();
}

async function assertNothingLeft(user: User, filesBefore: readonly string[]): Promise<void> {
  assert.deepEqual(await user.processes(), []);
  assert.deepEqual(await user.leftovers(), []);
  assert.deepEqual(await files(user), filesBefore);
}

const theUser = useUser();

for (const { what, args, code, says, files: extra } of cases) {
  test(`${what}: a sentence, exit code ${exitCodes[code]}, and nothing is left`, limit, async () => {
    const user = theUser();
    for (const [name, text] of Object.entries({ "job.ts": jobFile(), "good.csv": goodTable, ...extra }))
      await user.write(name, text);
    const before = await files(user);
    assertRefused(await user.run(...args, ...(knowsJson(args) ? ["--json"] : [])), code, says);
    await assertNothingLeft(user, before);
  });
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is an object.
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("other processes on the machine", () => {
  let busy: Server;
  /** An address that accepts connections and says nothing. */
  let silent: string;
  /** An address that nobody listens on. */
  let closed: string;
  let filesBefore: readonly string[];

  before(async () => {
    const user = theUser();
    await user.write("job.ts", jobFile());
    await user.write("good.csv", goodTable);
    busy = createServer(() => undefined);
    silent = await listen(busy);
    const gone = createServer();
    closed = await listen(gone);
    await new Promise((resolve) => gone.close(resolve));
    filesBefore = await files(user);
  });
  after(() => busy.close());

  test("an etcd that nobody answers for: launch, coordinator and worker end in bounded time", limit, async () => {
    const user = theUser();
    for (const address of [closed, silent]) {
      const etcd = ["--etcd", `http://${address}`];
      for (const args of [
        launch(...etcd, "--json"),
        ["coordinator", "job.ts", ...etcd],
        ["worker", "job.ts", ...etcd, "--checkpoints", "."],
      ]) {
        assertRefused(await user.run(...args), "coordination-unavailable", [address, "etcd"]);
        await assertNothingLeft(user, filesBefore);
      }
    }
  });

  test("a port in use: the coordinator says so before it has touched etcd", limit, async () => {
    const user = theUser();
    const outcome = await user.run("coordinator", "job.ts", "--etcd", `http://${closed}`, "--listen", silent);
    assertRefused(outcome, "address-unavailable", [silent, "in use"]);
    await assertNothingLeft(user, filesBefore);
  });

  test("a port in use: the worker says so before it has joined", limit, async () => {
    const user = theUser();
    const etcd: TestEtcd = await startTestEtcd();
    try {
      const coordinator = user.start("coordinator", "job.ts", "--etcd", etcd.endpoint);
      await coordinator.whenLine("it serves", ({ message }) => message === "serving");
      const worker = ["worker", "job.ts", "--etcd", etcd.endpoint, "--checkpoints", ".", "--engine", "cpu"];
      assertRefused(await user.run(...worker, "--listen", silent), "address-unavailable", [silent, "in use"]);
      coordinator.kill("SIGTERM");
      assert.equal((await coordinator.exited).code, 0, "a coordinator that is asked to end does so in order");
      await assertNothingLeft(user, filesBefore);
      const { entries } = await etcd.connect().list("/lockstep/small/runs/1/members/");
      assert.deepEqual(entries, [], "nobody has joined");
    } finally {
      await etcd.stop();
    }
  });
});
