/**
 * The metrics of one process in Prometheus' text format, at `/metrics`. Names, units and meanings are in docs/observability.md. Most
 * values are read when they are asked for, so that nobody who does not ask pays for them.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { refusalKinds } from "../../core/refusals.ts";
import type { Http } from "../http/server.ts";

export interface ProcessName {
  readonly job: string;
  /** "coordinator", or a worker's name. */
  readonly process: string;
  readonly role: "coordinator" | "worker";
  /** Of lockstep. */
  readonly version: string;
}

/** What an answer needs to know anew. */
export type Refresh = () => void | Promise<void>;

/** With what Node tells of every process. Every sample carries the job and the process. */
export function openRegistry({ job, process, role, version }: ProcessName): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ training_job: job, process });
  collectDefaultMetrics({ register: registry });
  // Gauges that are called totals, of what others of Node's metrics have by kind: Prometheus' own linter refuses such names.
  for (const name of ["handles", "requests", "resources"]) registry.removeSingleMetric(`nodejs_active_${name}_total`);
  const labelNames = ["version", "role"];
  new Gauge({ name: "lockstep_info", help: "1; what this process is", labelNames, registers: [registry] }).set(
    { version, role },
    1,
  );
  return registry;
}

/** @param refresh called before every answer */
export function serveMetrics(http: Http, registry: Registry, refresh: Refresh): void {
  http.route("/metrics", async ({ response }) => {
    await refresh();
    const text = await registry.metrics();
    response.writeHead(200, { "content-type": registry.contentType }).end(text);
  });
}

/** What coordinators and workers have alike. */
export class CommonMetrics {
  readonly generation: Gauge;
  readonly world: Gauge;
  readonly step: Gauge;
  readonly samplesPerSecond: Gauge;
  readonly #lease: Gauge;
  readonly #refusals: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
    this.generation = gauge("lockstep_generation", "Number of the membership; 0 before the first");
    this.world = gauge("lockstep_world_size", "Workers that train together; 0 while none do");
    this.step = gauge("lockstep_step", "Committed steps since the beginning");
    this.samplesPerSecond = gauge("lockstep_samples_per_second", "Of all workers together, in the step reported last");
    this.#lease = gauge(
      "lockstep_lease_remaining_seconds",
      "Until this process gives up its lease in etcd unless it is renewed; 0 once it is lost",
    );
    this.#refusals = new Counter({
      name: "lockstep_refusals_total",
      help: "Connections and calls that were refused, by what was wrong",
      labelNames: ["kind"],
      registers,
    });
  }

  leaseRemaining(ms: number | null): void {
    setOrRemove(this.#lease, ms === null ? null : ms / 1000);
  }

  /**
   * All kinds are there from the beginning: a counter that appears with its first refusal hides it from Prometheus' increase().
   * @param counts since the process began, by kind; several threads count for themselves
   */
  refusals(...counts: readonly Readonly<Record<string, number>>[]): void {
    this.#refusals.reset();
    for (const kind of refusalKinds) this.#refusals.inc({ kind }, 0);
    for (const [kind, count] of counts.flatMap((one) => Object.entries(one))) this.#refusals.inc({ kind }, count);
  }
}

/** Null: there is no such value, and no sample. */
export function setOrRemove(gauge: Gauge, value: number | null): void {
  if (value === null) gauge.remove();
  else gauge.set(value);
}
