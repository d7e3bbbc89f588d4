/** Alerts and dashboard ask for metrics, labels and label values that processes serve. */
import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { CoordinatorMetrics } from "../../src/adapters/metrics/coordinator-metrics.ts";
import { openRegistry } from "../../src/adapters/metrics/registry.ts";
import { WorkerMetrics } from "../../src/adapters/metrics/worker-metrics.ts";
import { findProgram } from "../../src/adapters/system/programs.ts";
import { faultCauses, plannedCauses } from "../../src/core/generation-cause.ts";
import { root } from "./manifests.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}
interface Rules {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}

const read = (name: string) => readFileSync(join(root, "deploy", name), "utf8");
const alerts = parse(read("monitoring/alerts.yaml")) as Rules;
const rules = alerts.groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read("monitoring/dashboard.json")) as {
  panels: { title: string; targets: { expr: string }[] }[];
  annotations: { list: { expr: string }[] };
};
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ...dashboard.annotations.list.map(({ expr }) => ["annotations", expr] as const),
];

/** The labels of every series that processes may serve, by its name. */
async function servedSeries(): Promise<Map<string, readonly string[]>> {
  const series = new Map<string, readonly string[]>();
  for (const fill of [CoordinatorMetrics, WorkerMetrics]) {
    const registry = openRegistry({ job: "j", process: "p", role: "worker", version: "0" });
    new fill(registry);
    for (const metric of registry.getMetricsAsArray()) {
      const {
        name,
        type,
        labelNames = [],
      } = metric as unknown as { name: string; type: string; labelNames?: string[] };
      const labels = ["training_job", "process", ...labelNames];
      const parts = { histogram: ["_bucket", "_sum", "_count"] }[type] ?? [""];
      for (const part of parts) series.set(`${name}${part}`, part === "_bucket" ? [...labels, "le"] : labels);
    }
    registry.clear();
  }
  return series;
}

/** Of labels whose values are words of this project. */
const words: Readonly<Record<string, readonly string[]>> = {
  reason: [...plannedCauses, ...faultCauses],
  state: ["waiting", "forming", "training", "paused", "stopping", "stopped", "finished", "failed"],
  role: ["coordinator", "worker"],
};

/** What is wrong with an expression, as sentences. */
function wrongIn(expression: string, series: ReadonlyMap<string, readonly string[]>): string[] {
  const wrong: string[] = [];
  const depth = [...expression].reduce((open, letter) => open + Number(letter === "(") - Number(letter === ")"), 0);
  if (depth !== 0) wrong.push("its parentheses do not match");
  const selectors = [...expression.matchAll(/\b((?:lockstep|nodejs|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?/g)];
  if (selectors.length === 0) wrong.push("it names no metric");
  const usable = new Set<string>();
  for (const [, name = "", matchers = ""] of selectors) {
    const labels = series.get(name);
    if (!labels) wrong.push(`there is no ${name}`);
    for (const label of labels ?? []) usable.add(label);
    for (const [, label = "", value = ""] of matchers.matchAll(/(\w+)(?:=~|!=|=)"([^"]*)"/g)) {
      if (labels && !labels.includes(label)) wrong.push(`${name} has no label ${label}`);
      const unknown = value.split("|").filter((one) => words[label] && !words[label].includes(one));
      for (const one of unknown) wrong.push(`${label} is never ${one}`);
    }
  }
  for (const [, list = ""] of expression.matchAll(/\b(?:by|on) \(([^)]*)\)/g)) {
    for (const label of list.split(", ")) if (!usable.has(label)) wrong.push(`nothing in it has the label ${label}`);
  }
  return wrong;
}

test("every expression of alerts and dashboard names series and labels that there are", async () => {
  const series = await servedSeries();
  assert.ok(expressions.length > 30);
  for (const [where, expression] of expressions) assert.deepEqual(wrongIn(expression, series), [], where);
  const broken = [
    ["sum(lockstep_steps)", "there is no lockstep_steps"],
    ['sum(lockstep_job_state{phase="x"})', "lockstep_job_state has no label phase"],
    ['sum(lockstep_job_state{state="resting"})', "state is never resting"],
    ["sum by (metric) (lockstep_step)", "nothing in it has the label metric"],
    ["sum(lockstep_step", "its parentheses do not match"],
  ] as const;
  for (const [expression, why] of broken) assert.deepEqual(wrongIn(expression, series), [why]);
});

test("Prometheus' own promtool takes the rules, and each alert fires when it should", (context) => {
  const promtool = findProgram("promtool");
  if (promtool === null) return context.skip("there is no promtool here; on Debian: apt-get install prometheus");
  const folder = join(root, "deploy/monitoring");
  for (const words of [
    ["check", "rules", "alerts.yaml"],
    ["test", "rules", "alerts.test.yaml"],
  ]) {
    const ended: SpawnSyncReturns<string> = spawnSync(promtool, words, { cwd: folder, encoding: "utf8" });
    assert.equal(ended.status, 0, ended.stdout + ended.stderr);
  }
});

test("every alert fires in the rules' own test", () => {
  const tried = read("monitoring/alerts.test.yaml");
  for (const { alert } of rules) assert.match(tried, new RegExp(`alertname="${alert}"`));
});

test("every alert says how bad it is, what happened and what to do, and the operator's rules are the same", () => {
  for (const { alert, labels, annotations, for: time } of rules) {
    assert.match(labels.severity, /^(warning|critical)$/, alert);
    assert.match(annotations.summary, /\{\{ \$labels\.training_job \}\}/, alert);
    assert.match(annotations.description, /\.$/, alert);
    assert.match(time ?? "0m", /^\d+[sm]$/, alert);
  }
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  const operators = parse(read("k8s/components/monitoring/alerts.yaml")) as { spec: Rules };
  assert.deepEqual(operators.spec, alerts);
});
