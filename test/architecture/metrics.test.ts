/** The table of metrics in docs/observability.md is what processes serve: names, types, labels and words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Registry } from "prom-client";
import { CoordinatorMetrics } from "../../src/adapters/metrics/coordinator-metrics.ts";
import { openRegistry } from "../../src/adapters/metrics/registry.ts";
import { WorkerMetrics } from "../../src/adapters/metrics/worker-metrics.ts";
import { textOf } from "./sources.ts";

interface Described {
  readonly name: string;
  readonly type: string;
  readonly help: string;
}

async function served(fill: (registry: Registry) => void): Promise<Described[]> {
  const registry = openRegistry({ job: "j", process: "p", role: "worker", version: "0" });
  fill(registry);
  const all = (await registry.getMetricsAsJSON()) as unknown as Described[]; // prom-client types the type as a number
  registry.clear();
  return all.filter(({ name }) => name.startsWith("lockstep_"));
}

test("docs/observability.md lists every metric, with its type, its processes and its meaning", async () => {
  const worker = await served((registry) => new WorkerMetrics(registry));
  const coordinator = await served((registry) => new CoordinatorMetrics(registry));
  const isIn = (list: readonly Described[], name: string) => list.some((one) => one.name === name);
  const expected = [...new Map([...coordinator, ...worker].map((one) => [one.name, one])).values()].map(
    ({ name, type, help }) => {
      const of = isIn(worker, name) ? (isIn(coordinator, name) ? "both" : "worker") : "coordinator";
      return `${name} | ${type} | ${of} | ${help}`;
    },
  );
  const rows = textOf("docs/observability.md").matchAll(
    /^\| `(lockstep_\w+)` \| (\w+) \| (\w+) \| (.+?)(?: \(`[^)]*\))? \|$/gm,
  );
  const written = [...rows].map(([, name, type, of, help]) => `${name} | ${type} | ${of} | ${help}`);
  assert.deepEqual(written.toSorted(), expected.toSorted());
});
