import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Writable } from "node:stream";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { statusTable } from "../../src/adapters/terminal/status-table.ts";
import { chooseColor, chooseMode, createView, type ViewMode } from "../../src/adapters/terminal/view.ts";
import { type BestSoFar, judge } from "../../src/core/checkpoint-policy.ts";
import { epochRecords, type RunResult } from "../../src/core/run-result.ts";
import type { ClusterStatus, ProcessStatus } from "../../src/core/status.ts";
import { summaryText } from "../../src/core/summary-table.ts";
import { noSettings } from "../../src/core/settings.ts";

const policy = { monitor: "val_loss", mode: "min" } as const;

function worker(index: number, more: Partial<ProcessStatus> = {}): ProcessStatus {
  return {
    role: "worker",
    workerId: `worker-${index}.1b2c3d`,
    rank: index,
    leader: index === 0,
    pid: 4000 + index,
    address: `127.0.0.1:5000${index}`,
    epoch: 1,
    step: 30,
    lease: "held",
    ...more,
  };
}

const training: ClusterStatus = {
  job: "digits",
  state: "training",
  reason: "all 3 workers have joined",
  failure: null,
  generation: 1,
  epoch: 0,
  step: 0,
  epochs: 4,
  stepsPerEpoch: 24,
  progress: { percent: 0, remainingSeconds: null, updatedAt: null },
  running: null,
  processes: [worker(0), worker(1), worker(2)],
  history: [],
  policy,
  best: null,
  latest: null,
  early: null,
  equivalences: [],
  settings: noSettings,
  wishes: { start: 1, workers: null, drained: [], restarts: {} },
};

const forming: ClusterStatus = {
  ...training,
  state: "forming",
  reason: "1 of 3 workers has joined",
  generation: 0,
  processes: [worker(0, { rank: null, leader: false })],
};

const losses = [0.91, 0.62, 0.64, 0.6];

/** The status when `epochs` epochs are committed. Keys are sorted, as they come over the wire. */
function after(epochs: number, more: Partial<ClusterStatus> = {}): ClusterStatus {
  let best: BestSoFar | null = null;
  const history = losses.slice(0, epochs).map((loss, index) => {
    const metrics = { accuracy: 0.8 + index / 100, loss: 1 / (index + 1), val_accuracy: 0.75, val_loss: loss };
    const judgement = judge(policy, best, { epoch: index + 1, step: (index + 1) * 24, metrics, data: "" });
    best = judgement.best;
    return { epoch: index + 1, step: (index + 1) * 24, metrics, improved: judgement.improved };
  });
  return { ...training, epoch: epochs, step: epochs * 24, history, ...more };
}

function during(epoch: number, stepInEpoch: number): ClusterStatus {
  const running = { epoch, stepInEpoch, samplesPerSecond: 12345.6, metrics: { accuracy: 0.81, loss: 0.53123 } };
  return after(epoch - 1, { running, step: (epoch - 1) * 24 + stepInEpoch });
}

const evicted = after(1, {
  state: "forming",
  generation: 2,
  reason: "worker-2 left: its lease ran out",
  processes: [worker(0), worker(1), worker(2, { rank: null, lease: "lost" })],
});

const checkpoint = { epoch: 4, step: 96, monitor: "val_loss", value: 0.6, path: "runs/digits/checkpoints/step-96" };
const result: RunResult = {
  job: "digits",
  epochs: 4,
  steps: 96,
  weightsDigest: `sha256:${"4f".repeat(32)}`,
  monitor: "val_loss",
  minDelta: 0,
  best: checkpoint,
  latest: checkpoint,
  history: epochRecords(after(4).history),
  test: null,
  testLatest: null,
  early: null,
  equivalences: [],
  generations: 2,
  directory: "runs/digits",
  report: null,
  curve: "runs/digits/curve.svg",
  seconds: 12.3,
};

/** A whole run, with a lost worker, snapshots that repeat, one that lags behind, and epochs that no snapshot shows. */
function play(view: ReturnType<typeof createView>): void {
  view.say("etcd answers on 127.0.0.1:2379");
  for (const status of [forming, forming, during(1, 1), during(1, 24), training, during(1, 24), after(1)]) {
    view.update(status);
  }
  view.say("worker-2 was killed; starting it again");
  for (const status of [evicted, evicted, after(1, { generation: 1, reason: "stale" })]) view.update(status);
  view.update({ ...evicted, state: "training", reason: "2 workers go on" });
  for (const epochs of [3, 2, 4, 4]) view.update(after(epochs, { generation: 2, reason: `${epochs} epochs` }));
  view.update(after(4, { generation: 2, state: "finished", reason: "all epochs are done" }));
  view.finished(result);
  view.close();
  view.close();
}

const escapeCode = "\u001b";
const controlCodeOrCharacter = new RegExp(`${escapeCode}\\[([?\\d;]*)([A-Za-z])|.`, "gsu");

/** Keeps what is written, and shows it as a terminal would: rows, and a cursor that control codes move. */
class FakeTerminal extends Writable {
  readonly writes: string[] = [];
  readonly rows: string[][] = [[]];
  /** Rows that began because the one before was full. */
  wrapped = 0;
  cursorShown = true;
  #row = 0;
  #column = 0;
  readonly #columns: number;

  constructor(columns = 80) {
    super({ decodeStrings: false });
    this.#columns = columns;
  }

  get text(): string {
    return this.writes.join("");
  }

  get screen(): string {
    return this.rows
      .map((row) =>
        Array.from(row, (cell) => cell ?? " ")
          .join("")
          .trimEnd(),
      )
      .join("\n")
      .trimEnd();
  }

  override _write(chunk: string, _encoding: BufferEncoding, done: () => void): void {
    this.writes.push(chunk);
    for (const [token, parameter, command] of chunk.matchAll(controlCodeOrCharacter)) {
      if (command === undefined) this.#character(token);
      else this.#control(command, parameter!);
    }
    done();
  }

  #character(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#nextRow();
    else {
      if (this.#column === this.#columns) {
        this.wrapped += 1;
        this.#nextRow();
      }
      this.rows[this.#row]![this.#column] = character;
      this.#column += 1;
    }
  }

  #nextRow(): void {
    this.#row += 1;
    this.#column = 0;
    this.rows[this.#row] ??= [];
  }

  #control(command: string, parameter: string): void {
    if (command === "A") this.#row = Math.max(0, this.#row - Number(parameter || 1));
    else if (command === "K" || command === "J") {
      this.rows[this.#row]!.length = Math.min(this.rows[this.#row]!.length, this.#column);
      if (command === "J") this.rows.length = this.#row + 1;
    } else if (parameter === "?25") this.cursorShown = command === "h";
    else assert.equal(command, "m", `unknown control code ${parameter}${command}`);
  }
}

function viewOn(terminal: FakeTerminal, mode: ViewMode, columns = 80, color = false) {
  const stderr = new FakeTerminal();
  const view = createView({ mode, stdout: terminal, stderr, columns: () => columns, color, policy });
  return { view, stderr };
}

test("plain: a line for each set-up step, decision and epoch, each once, and no escape codes", () => {
  const terminal = new FakeTerminal(1000);
  play(viewOn(terminal, "plain").view);
  assert.equal(
    terminal.text,
    `etcd answers on 127.0.0.1:2379
forming: 1 of 3 workers has joined
generation 1, training: all 3 workers have joined
Epoch 1/4  loss 1.000  accuracy 0.8000  val_loss 0.9100  val_accuracy 0.7500  ★ val_loss 0.910, best saved (first)
worker-2 was killed; starting it again
generation 2, forming: worker-2 left: its lease ran out
generation 2, training: 2 workers go on
Epoch 2/4  loss 0.5000  accuracy 0.8100  val_loss 0.6200  val_accuracy 0.7500  ★ val_loss 0.910 → 0.620, best saved
Epoch 3/4  loss 0.3333  accuracy 0.8200  val_loss 0.6400  val_accuracy 0.7500    val_loss 0.640, best stays 0.620 (epoch 2)
Epoch 4/4  loss 0.2500  accuracy 0.8300  val_loss 0.6000  val_accuracy 0.7500  ★ val_loss 0.620 → 0.600, best saved

${summaryText(result)}
`,
  );
});

test("json: standard output has nothing but events, and the finished event is the last one", () => {
  const terminal = new FakeTerminal();
  const { view, stderr } = viewOn(terminal, "json");
  play(view);
  view.say("stopped etcd");
  view.update(after(4, { generation: 9 }));
  const events = terminal.text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    events.map(({ event, state, epoch, text }) => [event, state ?? text ?? epoch].filter((item) => item !== undefined)),
    [
      ["message", "etcd answers on 127.0.0.1:2379"],
      ["state", "forming"],
      ["state", "training"],
      ["epoch", 1],
      ["message", "worker-2 was killed; starting it again"],
      ["state", "forming"],
      ["state", "training"],
      ["epoch", 2],
      ["epoch", 3],
      ["epoch", 4],
      ["state", "finished"],
      ["finished"],
    ],
  );
  assert.deepEqual(events[7], {
    event: "epoch",
    job: "digits",
    epoch: 2,
    epochs: 4,
    step: 48,
    metrics: { loss: 0.5, accuracy: 0.81, val_loss: 0.62, val_accuracy: 0.75 },
    improved: true,
    checkpoint: "val_loss 0.910 → 0.620, best saved",
  });
  assert.equal(stderr.text, "etcd answers on 127.0.0.1:2379\nworker-2 was killed; starting it again\nstopped etcd\n");
});

test("live: what stays on the screen is each epoch with its checkpoint, the messages, and the summary", () => {
  const terminal = new FakeTerminal(80);
  play(viewOn(terminal, "live").view);
  assert.equal(
    terminal.screen,
    `etcd answers on 127.0.0.1:2379
generation 1, training: all 3 workers have joined
Epoch 1/4  loss 1.000  accuracy 0.8000  val_loss 0.9100  val_accuracy 0.7500
  ★ val_loss 0.910, best saved (first)
worker-2 was killed; starting it again
generation 2, forming: worker-2 left: its lease ran out
generation 2, training: 2 workers go on
Epoch 2/4  loss 0.5000  accuracy 0.8100  val_loss 0.6200  val_accuracy 0.7500
  ★ val_loss 0.910 → 0.620, best saved
Epoch 3/4  loss 0.3333  accuracy 0.8200  val_loss 0.6400  val_accuracy 0.7500
    val_loss 0.640, best stays 0.620 (epoch 2)
Epoch 4/4  loss 0.2500  accuracy 0.8300  val_loss 0.6000  val_accuracy 0.7500
  ★ val_loss 0.620 → 0.600, best saved

${summaryText(result)}`,
  );
  assert.ok(terminal.cursorShown);
});

test("live: one line moves in place, the cluster stands below it, and messages go above", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const terminal = new FakeTerminal(80);
  const { view } = viewOn(terminal, "live");
  const seen = (status: ClusterStatus): string => {
    view.update(status);
    context.mock.timers.tick(100);
    return terminal.screen;
  };
  assert.equal(seen(forming), "forming  1 of 3 workers has joined\nno generation yet · workers ○ · leader none");
  assert.equal(terminal.cursorShown, false);
  assert.equal(
    seen(during(1, 12)),
    `generation 1, training: all 3 workers have joined
Epoch 1/4
12/24 ━━━━━━━━━━──────────  50%  12,346 samples/s  loss 0.5312  accuracy 0.8100
generation 1 · workers ●●● · leader worker-0.1b2c3d`,
  );
  view.say("a message");
  assert.match(seen(during(1, 24)), /^generation 1.*\na message\nEpoch 1\/4\n24\/24 ━{20} 100% .*\ngeneration 1 · .*$/);
  const between = after(0);
  assert.match(seen(between), /\n24\/24 .*100% .*loss 0\.5312/, "the epoch that is not committed yet stays full");
  assert.match(seen(after(1)), /best saved \(first\)\nEpoch 2\/4\n 0\/24 ─{24} {3}0%\ngeneration 1/);
  assert.match(
    seen(evicted),
    /\nforming {2}worker-2 left: its lease ran out\ngeneration 2 · workers ●●○ · leader worker-0/,
  );
  view.close();
  assert.match(terminal.screen, /generation 2 · workers ●●○/, "what was last shown stays");
  assert.ok(terminal.cursorShown);
});

test("live: what is left stands beside the epoch, where there is room for it", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const progress = { percent: 12.5, remainingSeconds: 250.4, updatedAt: "2026-01-01T00:00:00.000Z" };
  const cases: [columns: number, line: string][] = [
    [120, "Epoch 1/4  12.5% of the run, 4 min 10 s left"],
    [80, "Epoch 1/4  12.5% of the run, 4 min 10 s left"],
    [40, "Epoch 1/4  4 min 10 s left"],
    [20, "Epoch 1/4"],
  ];
  for (const [columns, line] of cases) {
    const terminal = new FakeTerminal(columns);
    const { view } = viewOn(terminal, "live", columns);
    view.update({ ...during(1, 12), progress });
    assert.ok(terminal.screen.split("\n").includes(line), `${columns}: ${terminal.screen}`);
    assert.equal(terminal.wrapped, 0);
    view.close();
  }
});

test("live: at most ten drawings a second, each in one write, and none when nothing has changed", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const terminal = new FakeTerminal(80);
  const { view } = viewOn(terminal, "live");
  for (let step = 1; step <= 24; step += 1) {
    view.update(during(1, step));
    context.mock.timers.tick(25);
  }
  assert.ok(terminal.writes.length >= 6 && terminal.writes.length <= 7, `${terminal.writes.length} writes in 600 ms`);
  context.mock.timers.tick(1000);
  assert.match(terminal.screen, /24\/24/, "the last update is drawn, though no other follows");
  const before = terminal.writes.length;
  for (let repeat = 0; repeat < 5; repeat += 1) {
    view.update(during(1, 24));
    context.mock.timers.tick(200);
  }
  assert.equal(terminal.writes.length, before);
  view.close();
});

test("live: on terminals of any width the moving lines keep to one row each, and the loss is what stays", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (const columns of [16, 20, 40, 60, 80, 200]) {
    for (const color of [false, true]) {
      const terminal = new FakeTerminal(columns);
      const { view } = viewOn(terminal, "live", columns, color);
      for (const status of [forming, during(3, 7), evicted]) {
        view.update({ ...status, history: [] });
        context.mock.timers.tick(100);
      }
      assert.equal(terminal.wrapped, 0, `${columns} columns`);
      assert.match(terminal.screen, columns >= 60 ? /workers ●●○ · leader worker-0/ : /^genera.*$/m);
      view.close();
    }
  }
  const terminal = new FakeTerminal(40);
  viewOn(terminal, "live", 40).view.update(during(1, 12));
  assert.match(terminal.screen, /^12\/24 ━{7}╸─{7} {2}50% {2}loss 0\.5312$/m);
});

test("live: lines that stay are broken between words on a narrow terminal", () => {
  const terminal = new FakeTerminal(40);
  const { view } = viewOn(terminal, "live", 40);
  view.update(after(3));
  assert.equal(terminal.wrapped, 0);
  assert.match(terminal.screen, /\n {4}val_loss 0\.640, best stays 0\.620\n {2}\(epoch 2\)\n/);
  view.close();
});

test("live: after the terminal was made narrower, nothing of the old lines is left", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const wide = new FakeTerminal(80);
  let columns = 80;
  const view = createView({ mode: "live", stdout: wide, stderr: wide, columns: () => columns, color: false, policy });
  view.update(during(1, 12));
  columns = 40;
  context.mock.timers.tick(100);
  view.update(during(1, 13));
  // The line of 79 columns and the one of 51 fill two rows each now; with "Epoch 1/4" that makes five.
  assert.ok(wide.writes.at(-1)!.startsWith(`\r${escapeCode}[4A`));
  view.close();
});

test("live: a width of 0, which some pseudo-terminals report, counts as unknown", () => {
  const terminal = new FakeTerminal(80);
  viewOn(terminal, "live", 0).view.update(during(1, 12));
  assert.match(terminal.screen, /accuracy 0\.8100/);
});

test("colour is there only when asked for, and changes no letter", () => {
  const [plain, colored] = [new FakeTerminal(80), new FakeTerminal(80)];
  play(viewOn(plain, "live", 80, false).view);
  play(viewOn(colored, "live", 80, true).view);
  assert.doesNotMatch(plain.text, new RegExp(`${escapeCode}\\[[\\d;]*m`));
  assert.ok(colored.text.includes(`${escapeCode}[33m★`));
  assert.equal(colored.screen, plain.screen);
});

test("text from outside cannot send control codes to the terminal", () => {
  for (const mode of ["live", "plain"] as const) {
    const terminal = new FakeTerminal();
    const { view } = viewOn(terminal, mode);
    view.say("\u001b]0;title\u0007 \u001b[2J");
    view.update({ ...training, state: "failed", reason: "bad\u001b[2J\nworse" });
    view.close();
    for (const code of [`${escapeCode}]`, `${escapeCode}[2J`, "\u0007"]) assert.ok(!terminal.text.includes(code));
    assert.match(terminal.screen, /failed: bad�\[2J worse/);
  }
});

test("a process that ends without closing the view gives the cursor back", async () => {
  const view = fileURLToPath(new URL("../../src/adapters/terminal/view.ts", import.meta.url));
  const script = `
    import { createView } from ${JSON.stringify(view)};
    const { stdout, stderr } = process;
    const view = createView({ mode: "live", stdout, stderr, columns: () => 80, color: true, policy: ${JSON.stringify(policy)} });
    view.update(${JSON.stringify(during(1, 12))});
    process.exit(3);
  `;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", script], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.equal(code, 3);
  assert.ok(output.includes("\u001b[?25l") && output.endsWith("\u001b[?25h"), JSON.stringify(output));
});

test("what was trained before this launch is one line for people, and an event an epoch for programs", () => {
  const before = after(3, { best: { epoch: 2, value: 0.62, monitor: "val_loss" } as ClusterStatus["best"] }); // all that is told of it
  for (const mode of ["plain", "live"] as const) {
    const terminal = new FakeTerminal(1000);
    const { view } = viewOn(terminal, mode, 1000);
    view.earlier(before);
    for (const epochs of [3, 3, 4]) view.update(after(epochs));
    view.close();
    const shown = mode === "live" ? terminal.screen : terminal.text;
    assert.match(
      shown.replaceAll(/\s+/g, " "),
      /Epochs 1–3 of 4 before this launch: val_loss [\d.]+ → 0\.6400, best 0\.6200 \(epoch 2\); `lockstep checkpoints list` shows what is kept of them\./,
    );
    assert.equal(shown.split("\n").filter((line) => line.startsWith("Epoch 4/4")).length, 1, shown);
    assert.doesNotMatch(shown, /Epoch [123]\/4/);
  }
  const changed = new FakeTerminal(1000);
  const byAnother = { epoch: 2, value: 0.85, monitor: "val_accuracy" } as ClusterStatus["best"]; // all that is told of it
  viewOn(changed, "plain").view.earlier(after(3, { best: byAnother }));
  assert.match(changed.text, /val_loss [\d.]+ → 0\.6400, best by val_accuracy 0\.8500 \(epoch 2\);/);
  const running = new FakeTerminal(1000);
  const published = { epoch: 1, value: 0.9, monitor: "val_loss" } as ClusterStatus["best"]; // all that is told of it
  viewOn(running, "plain").view.earlier(after(3, { best: published }));
  assert.match(running.text, /, best 0\.6200 \(epoch 2\);/, "that of epoch 2 is not published yet");
  const fresh = new FakeTerminal(1000);
  viewOn(fresh, "plain").view.earlier(after(0));
  viewOn(fresh, "plain").view.earlier(after(1));
  assert.match(fresh.text, /^Epoch 1 of 4 before this launch: val_loss 0\.\d+; .* kept of it\.\n$/);
  const json = new FakeTerminal(1000);
  const { view } = viewOn(json, "json");
  view.earlier(before);
  view.update(before);
  assert.equal(json.text.split("\n").filter((line) => line.includes('"event":"epoch"')).length, 3);
});

test("an epoch that comes again with other values, after the job went back, is told again", () => {
  const terminal = new FakeTerminal(1000);
  const { view } = viewOn(terminal, "plain");
  view.update(after(2));
  const [first] = after(1).history;
  const redone = { epoch: 2, step: 48, metrics: { ...first!.metrics, val_loss: 0.95 }, improved: false };
  view.update(after(2, { generation: 2, reason: "went back", history: [first!, redone] }));
  const epochs = terminal.text.split("\n").filter((line) => line.startsWith("Epoch"));
  assert.deepEqual(
    epochs.map((line) => line.replace(/ {2}loss.*val_accuracy 0\.7500/, "")),
    [
      "Epoch 1/4  ★ val_loss 0.910, best saved (first)",
      "Epoch 2/4  ★ val_loss 0.910 → 0.620, best saved",
      "Epoch 2/4    val_loss 0.950, best stays 0.910 (epoch 1)",
    ],
  );
});

test("what was committed decides about best, also where the policy would judge otherwise today", () => {
  const terminal = new FakeTerminal(1000);
  const history = after(4).history.map((record) => ({ ...record, improved: record.epoch === 3 }));
  viewOn(terminal, "plain").view.update(after(4, { history }));
  assert.match(
    terminal.text,
    /Epoch 1.* best stays\n.*Epoch 2.* best stays\n.*Epoch 3.*★ .*best saved.*\n.*Epoch 4.* best stays\n/,
  );
});

test("an epoch that begins a new line of bests says of what the one before was", () => {
  const terminal = new FakeTerminal(1000);
  const setAside = { monitor: "val_accuracy", mode: "max", data: "" } as const;
  const history = after(4).history.map((record) =>
    record.epoch === 3 ? { ...record, improved: true, setAside } : record,
  );
  viewOn(terminal, "plain").view.update(after(4, { history }));
  assert.match(
    terminal.text,
    /Epoch 3.*best saved \(first\); a new line of bests, since the one before was of val_accuracy \(max\)/,
  );
});

test("the mode follows the flag, then the terminal; colour follows NO_COLOR and TERM", () => {
  const terminal = { isTTY: true };
  assert.equal(chooseMode(true, terminal, {}), "json");
  assert.equal(chooseMode(false, terminal, { TERM: "xterm-256color" }), "live");
  assert.equal(chooseMode(false, terminal, { TERM: "xterm", NO_COLOR: "1" }), "live");
  assert.equal(chooseMode(false, terminal, { TERM: "dumb" }), "plain");
  assert.equal(chooseMode(false, {}, { TERM: "xterm" }), "plain");
  assert.equal(chooseColor(terminal, { TERM: "xterm" }), true);
  assert.equal(chooseColor(terminal, { TERM: "xterm", NO_COLOR: "" }), true);
  assert.equal(chooseColor(terminal, { TERM: "xterm", NO_COLOR: "1" }), false);
  assert.equal(chooseColor(terminal, { TERM: "dumb" }), false);
  assert.equal(chooseColor({}, { TERM: "xterm" }), false);
});

test("the status table shows state and reason, progress, every process by role and rank, best and latest", () => {
  const other = { workerId: null, rank: null, leader: false, epoch: null, step: null, lease: null };
  const location = "runs/digits/checkpoints/b";
  const pointer = { id: "b", location, lineage: 1, era: 1, step: 30, epoch: 1, stepInEpoch: 6 };
  const of = { monitor: "val_loss", mode: "min", data: "" } as const;
  const digests = { generation: 2, stateDigest: "", weightsDigest: "", manifestSha256: "", monitor: "val_loss", of };
  const status: ClusterStatus = {
    ...during(2, 6),
    generation: 2,
    reason: "2 workers go on",
    processes: [
      worker(2, { rank: null, lease: "lost", epoch: null, step: null }),
      worker(1),
      worker(0),
      { ...other, role: "coordinator", pid: 3001, address: "127.0.0.1:4444", lease: "held" },
      { ...other, role: "etcd", pid: 3000, address: "127.0.0.1:2379" },
    ],
    best: {
      ...pointer,
      ...digests,
      id: "a",
      location: "runs/digits/checkpoints/a",
      step: 24,
      stepInEpoch: 0,
      value: 0.91,
    },
    latest: { ...pointer, ...digests, value: null },
    progress: { percent: 31.2, remainingSeconds: 250, updatedAt: null },
  };
  assert.equal(
    statusTable(status),
    `digits: training, generation 2
2 workers go on

epoch 1 of 4 completed, 30 steps committed: 31.2%, about 4 min 10 s left
epoch 2 under way: 6/24 steps, 12,346 samples/s, loss 0.5312, accuracy 0.8100

role         worker id        rank  leader   pid  address          epoch  step  lease
etcd                                        3000  127.0.0.1:2379
coordinator                                 3001  127.0.0.1:4444                held
worker       worker-0.1b2c3d     0  ★       4000  127.0.0.1:50000      1    30  held
worker       worker-1.1b2c3d     1          4001  127.0.0.1:50001      1    30  held
worker       worker-2.1b2c3d                4002  127.0.0.1:50002               LOST

checkpoint  epoch  step  value            where
best            1    24  val_loss 0.9100  runs/digits/checkpoints/a
latest          1    30  –                runs/digits/checkpoints/b`,
  );
  const holders = ["worker-0", "worker-2"];
  assert.match(
    statusTable({ ...status, latest: { ...pointer, ...digests, value: null, holders } }),
    /latest +1 +30 +– +b on worker-0, worker-2$/,
  );
  assert.match(
    statusTable({ ...forming, processes: [] }),
    /^digits: forming\n1 of 3.*No processes\.\n\nNo checkpoint yet\.$/s,
  );
});

test("live: of a run that is over the last word stays alone on the screen; a run that goes on keeps its lines", () => {
  const shown = (last: ClusterStatus, word: string) => {
    const terminal = new FakeTerminal();
    const { view } = viewOn(terminal, "live");
    for (const status of [during(4, 12), last]) view.update(status);
    view.say(word);
    view.close();
    return terminal.screen;
  };
  const over = after(4, { state: "finished", reason: "the job is finished", processes: [] });
  assert.match(shown(over, "finished; 4 epochs, 96 steps"), /\nfinished; 4 epochs, 96 steps$/);
  assert.match(shown(during(4, 13), "a word"), /\na word\nEpoch 4\/4[\s\S]*\ngeneration 1 /);
});
