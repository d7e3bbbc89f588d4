/** What Prometheus reads from real processes: the same as the status says, and what a fault adds to it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterStatus } from "../../src/core/status.ts";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import { type Family, parsePrometheus, sampleOf } from "../fixtures/prometheus-text.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const user = useUser();
const etcd = useEtcd();

const epochs = 40;
const rows = 80; // a fifth of them for validation
const stepsPerEpoch = 16; // of 4 samples

test("metrics say what the status says, time every step once, and count a killed worker as a recovery", {
  timeout: 120_000,
}, async () => {
  await user().write("small.csv", smallData(rows));
  const job = await user().write("small.ts", smallJob());
  const words = [job, "--etcd", etcd().endpoint, "--http", "127.0.0.1:0"];
  const started = async (...more: string[]) => {
    const command = user().start(...more);
    const { http } = await command.whenLine("its address", ({ message }) => message === "serving HTTP");
    return { command, scrape: () => scraped(String(http)) };
  };
  const coordinator = await started("coordinator", ...words, "--workers", "2", "--epochs", String(epochs));
  const { address } = await coordinator.command.whenLine("its address", ({ message }) => message === "serving");
  const worker = (name: string) =>
    started("worker", ...words, "--name", name, "--checkpoints", user().at("checkpoints"), "--on-finish", "wait");
  const [a, b] = await Promise.all([worker("a"), worker("b")]);
  const runsWith = (world: number) => coordinator.command.whenLine(`${world} workers`, (line) => line.world === world);

  await runsWith(2);
  const before = await coordinator.scrape();
  assert.equal(sampleOf(before, "lockstep_recoveries_total", { reason: "gone" }), 0);
  assert.equal(sampleOf(before, "lockstep_world_size"), 2);
  await b.command.whenLine("a step of both", ({ message }) => message === "first step of the generation");
  const during = await b.scrape();
  for (const name of ["sent", "received"])
    assert.ok(sampleOf(during, `lockstep_exchange_${name}_bytes_total`)! > 0, name);
  const leaseSeconds = sampleOf(during, "lockstep_lease_remaining_seconds")!;
  assert.ok(leaseSeconds > 0 && leaseSeconds <= 3, `its lease is held for ${leaseSeconds} s more`);
  b.command.kill("SIGKILL");
  await coordinator.command.whenLine(
    "a generation without b",
    ({ message, members }) => message === "forming" && /^a\.\w+$/.test(String(members)),
  );

  const { command, scrape } = a;
  const {
    job: named,
    run,
    worker: its,
    ...last
  } = await command.whenLine("its end", (line) => line.message === "left");
  assert.deepEqual(
    [named, run, its, last.step],
    ["small", 1, "a", epochs * stepsPerEpoch],
    "its lines say where it is",
  );
  const saved = await command.whenLine(
    "its last checkpoint",
    ({ message, step }) => message === "published" && step === last.step,
  );
  assert.equal(saved.epoch, epochs, "a checkpoint's line tells the epoch that it is of");
  assert.match(String(last.incarnation), /^\w{8}$/);
  const begun = await command.whenLine("its beginning", (line) => line.message === "training");
  assert.deepEqual([begun.epoch, begun.step], [0, 0], "and where it began, before its first step");
  await command.whenLine("that it is done", ({ message }) => message === "standing idle");
  const { stdout } = await user().run("status", "--coordinator", String(address), "--json");
  const status = JSON.parse(stdout) as ClusterStatus;
  const [now, own] = await Promise.all([coordinator.scrape(), scrape()]);
  const recoveries = ["gone", "unreachable"].map((reason) => sampleOf(now, "lockstep_recoveries_total", { reason })!);
  assert.equal(recoveries[0]! + recoveries[1]!, 1, "the killed worker, and nothing else");
  assert.equal(sampleOf(now, "lockstep_membership_changes_total", { reason: "start" }), 1);
  assert.equal(status.state, "finished");
  assert.equal(last.generation, status.generation);
  const expected: [string, Record<string, string>, number][] = [
    ["lockstep_job_state", { state: "finished" }, 1],
    ["lockstep_job_state", { state: "training" }, 0],
    ["lockstep_coordinator_active", {}, 1],
    ["lockstep_generation", {}, status.generation],
    ["lockstep_epoch", {}, status.epoch],
    ["lockstep_epochs", {}, status.epochs],
    ["lockstep_step", {}, status.step],
    ["lockstep_steps_per_epoch", {}, status.stepsPerEpoch],
    ...Object.entries(status.history.at(-1)!.metrics).map(
      ([metric, value]): [string, Record<string, string>, number] => ["lockstep_epoch_metric", { metric }, value],
    ),
  ];
  for (const [name, labels, value] of expected) assert.equal(sampleOf(now, name, labels), value, name);
  assert.equal(status.step, epochs * stepsPerEpoch);
  const writtenSeconds = sampleOf(now, "lockstep_checkpoint_latest_timestamp_seconds")!;
  assert.ok(Math.abs(writtenSeconds - Date.now() / 1000) < 120, "the latest checkpoint is young");
  assert.equal(sampleOf(now, "lockstep_forming_seconds_count"), status.generation);

  assert.equal(sampleOf(own, "lockstep_step"), status.step);
  assert.equal(sampleOf(own, "lockstep_step_seconds_count"), status.step, "every step is timed once");
  assert.equal(sampleOf(own, "lockstep_samples_total"), status.step * 4);
  const sumOf = (phase: string) => sampleOf(own, "lockstep_step_phase_seconds_sum", { phase })!;
  const phases = ["input", "compute", "all-reduce", "update"].map(sumOf);
  const whole = sampleOf(own, "lockstep_step_seconds_sum")!;
  assert.ok(
    phases.every((seconds) => seconds > 0),
    `no phase takes nothing: ${phases}`,
  );
  assert.ok(Math.abs(phases.reduce((sum, one) => sum + one) - whole) < 1e-6, "the phases are the whole step");
  assert.ok(sumOf("paused") > 0);
  assert.ok(sampleOf(own, "lockstep_checkpoint_write_seconds_count")! > 0, "the survivor has led, and written");
  assert.ok(sampleOf(own, "lockstep_checkpoint_size_bytes")! > 0);
  assert.equal(sampleOf(own, "lockstep_checkpoint_write_failures_total"), 0);
  assert.ok(sampleOf(own, "nodejs_eventloop_lag_seconds") !== null);
  assert.equal(sampleOf(own, "lockstep_info", { role: "worker", training_job: "small", process: "a" }), 1);
});

async function scraped(address: string): Promise<Map<string, Family>> {
  const response = await fetch(`http://${address}/metrics`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  return parsePrometheus(await response.text());
}
