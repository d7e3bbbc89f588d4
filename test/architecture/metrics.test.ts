/** The table of metrics in docs/observability.md is what processes serve: names, types, labels and words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Registry } from "prom-client";
import { CoordinatorMetrics } from "../../src/adapters/metrics/coordinator-metrics.ts";
import { openRegistry } from "../../src/adapters/metrics/registry.ts";
import { WorkerMetrics } from "../../src/adapters/metrics/worker-metrics.ts";
import { faultCauses, plannedCauses } from "../../src/core/generation-cause.ts";
import { refusalKinds } from "../../src/core/refusals.ts";
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

test("counters with a word for a label have each word from the beginning, at zero: Prometheus' increase() misses what appears", async () => {
  const registry = openRegistry({ job: "j", process: "p", role: "coordinator", version: "0" });
  const readings = { status: null, isActive: true, leaseRemainingMs: 1, latestWrittenAtMs: null, refusals: {} };
  new CoordinatorMetrics(registry).refresh(readings);
  const text = await registry.metrics();
  registry.clear();
  const words = (name: string, label: string) =>
    [...text.matchAll(new RegExp(`^${name}\\{${label}="([^"]*)".*\\} 0$`, "gm"))].map(([, word]) => word);
  assert.deepEqual(words("lockstep_refusals_total", "kind"), [...refusalKinds]);
  assert.deepEqual(words("lockstep_recoveries_total", "reason"), [...faultCauses]);
  assert.deepEqual(words("lockstep_membership_changes_total", "reason"), [...plannedCauses]);
  const totals = [...text.matchAll(/^# TYPE (\w+_total) (\w+)$/gm)];
  assert.deepEqual(
    totals.filter(([, , type]) => type !== "counter").map(([, name]) => name),
    [],
  );
});

test("docs/security.md says what each kind of refusal was", () => {
  const rows = textOf("docs/security.md").matchAll(/^\| (`.*`) \| .+ \|$/gm);
  const told = [...rows].flatMap(([, kinds]) => [...kinds!.matchAll(/`([^`]+)`/g)].map(([, kind]) => kind));
  for (const kind of refusalKinds) assert.ok(told.includes(kind), kind);
});
