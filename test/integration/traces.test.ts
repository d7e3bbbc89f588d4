/** Traces of real processes, as a collector receives them. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { useUser } from "../fixtures/cli.ts";
import { useEtcd } from "../fixtures/etcd.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: number; readonly doubleValue?: number };
}
interface Sent {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly Omit<Span, "process">[] }[];
  }[];
}
interface Span {
  readonly process: unknown;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
}

const spans: Span[] = [];
const collector = createServer(async (request, response) => {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  assert.equal(request.url, "/v1/traces");
  const { resourceSpans } = JSON.parse(Buffer.concat(parts).toString()) as Sent;
  for (const { resource, scopeSpans } of resourceSpans) {
    const process = valueIn(resource.attributes, "lockstep.process");
    spans.push(...scopeSpans.flatMap((scope) => scope.spans.map((span) => ({ ...span, process }))));
  }
  response.writeHead(200, { "content-type": "application/json" }).end("{}");
});

before(async () => {
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const { port } = collector.address() as AddressInfo; // it listens on a port
  // What the user's commands inherit.
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${port}`;
});
after(() => {
  collector.closeAllConnections();
  collector.close();
});

const user = useUser();
const etcd = useEtcd();
const epochs = 30;

test("every step is a span with its phases, one trace for all workers, and a recovery tells how long what took", {
  timeout: 120_000,
}, async () => {
  await user().write("small.csv", smallData(80));
  const job = await user().write("small.ts", smallJob());
  const words = [job, "--etcd", etcd().endpoint];
  const coordinator = user().start("coordinator", ...words, "--workers", "3", "--epochs", String(epochs));
  const [a, b, c] = ["a", "b", "c"].map((name) =>
    user().start("worker", ...words, "--name", name, "--checkpoints", user().at("checkpoints")),
  );
  await b!.whenLine("a step of all", ({ message }) => message === "first step of the generation");
  b!.kill("SIGKILL");
  assert.deepEqual(await Promise.all([a!, c!].map(async ({ exited }) => (await exited).code)), [0, 0]);
  coordinator.kill("SIGTERM");
  await coordinator.exited;

  const of = (process: string, name: string) => spans.filter((span) => span.process === process && span.name === name);
  const steps = of("a", "step");
  const numbers = steps
    .map(({ attributes }) => valueIn(attributes, "lockstep.step"))
    .sort((x, y) => Number(x) - Number(y));
  assert.deepEqual(
    numbers,
    Array.from({ length: epochs * 16 }, (_, i) => i + 1),
    "each step of the survivor once",
  );
  const traces = (process: string) => of(process, "step").map(({ traceId }) => traceId);
  assert.deepEqual(traces("a").sort(), traces("c").sort(), "a step is one trace, whoever takes it");
  for (const step of steps) {
    const phases = childrenOf(step);
    assert.deepEqual(phases.map(({ name }) => name).sort(), ["all-reduce", "compute", "input", "update"]);
    const sum = phases.reduce((total, phase) => total + msOf(phase), 0);
    assert.ok(Math.abs(sum - msOf(step)) < 0.01, `the phases, ${sum} ms, are the step, ${msOf(step)} ms`);
  }

  const [joining, ...more] = of("a", "joining");
  assert.deepEqual([valueIn(joining!.attributes, "lockstep.generation"), more.length], [1, 0]);
  const [recovery, ...others] = of("a", "recovery");
  assert.equal(others.length, 0, "one fault, one recovery");
  const parts = childrenOf(recovery!).sort((x, y) => Number(BigInt(x.startTimeUnixNano) - BigInt(y.startTimeUnixNano)));
  assert.deepEqual(
    parts.map(({ name }) => name),
    ["suspicion", "forming", "running", "first step"],
  );
  const sum = parts.reduce((total, part) => total + msOf(part), 0);
  assert.ok(Math.abs(sum - msOf(recovery!)) < 0.01, "one follows the other, from the first sign to the first step");
  const generation = valueIn(recovery!.attributes, "lockstep.generation");
  const coordinating = of("coordinator", "coordinating").find((span) => span.traceId === recovery!.traceId);
  assert.equal(valueIn(coordinating!.attributes, "lockstep.generation"), generation, "it is in the same trace");
  assert.match(String(valueIn(coordinating!.attributes, "lockstep.cause")), /^(gone|unreachable)$/);
});

function childrenOf({ spanId, traceId }: Span): Span[] {
  return spans.filter((span) => span.parentSpanId === spanId && span.traceId === traceId);
}

function msOf({ startTimeUnixNano, endTimeUnixNano }: Span): number {
  return Number(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)) / 1e6;
}

function valueIn(attributes: readonly Attribute[], name: string): string | number | undefined {
  const value = attributes.find(({ key }) => key === name)?.value;
  return value?.stringValue ?? value?.intValue ?? value?.doubleValue;
}
