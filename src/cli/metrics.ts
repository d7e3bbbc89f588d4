/** What a process measures of itself, where it serves HTTP: the modules for that are loaded only then. */
import type { Http } from "../adapters/http/server.ts";
import type { CoordinatorMetrics, CoordinatorReadings } from "../adapters/metrics/coordinator-metrics.ts";
import type { WorkerMetrics, WorkerReadings } from "../adapters/metrics/worker-metrics.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { packageVersion } from "../adapters/system/package-root.ts";

export async function coordinatorMetrics(
  http: Http,
  job: string,
  read: () => CoordinatorReadings,
): Promise<CoordinatorMetrics | null> {
  if (http.address === "") return null;
  const [{ openRegistry, serveMetrics }, { CoordinatorMetrics }] = await Promise.all([
    import("../adapters/metrics/registry.ts"),
    import("../adapters/metrics/coordinator-metrics.ts"),
  ]);
  const registry = openRegistry({ job, process: "coordinator", role: "coordinator", version: packageVersion() });
  const metrics = new CoordinatorMetrics(registry);
  serveMetrics(http, registry, () => metrics.refresh(read()));
  return metrics;
}

/** Asks each time, and says what it heard last where an answer does not come within `limitMs`, or never will. */
export function patientReader<T>(ask: () => Promise<T>, first: T, limitMs: number): () => Promise<T> {
  let last = first;
  return async () => {
    const timer = new AbortController();
    const late = systemClock.sleep(limitMs, timer.signal).then(() => last);
    late.catch(() => undefined);
    last = await Promise.race([ask().catch(() => last), late]);
    timer.abort();
    return last;
  };
}

export async function workerMetrics(
  http: Http,
  job: string,
  name: string,
  read: () => Promise<WorkerReadings>,
): Promise<WorkerMetrics | null> {
  if (http.address === "") return null;
  const [{ openRegistry, serveMetrics }, { WorkerMetrics }] = await Promise.all([
    import("../adapters/metrics/registry.ts"),
    import("../adapters/metrics/worker-metrics.ts"),
  ]);
  const registry = openRegistry({ job, process: name, role: "worker", version: packageVersion() });
  const metrics = new WorkerMetrics(registry);
  serveMetrics(http, registry, async () => metrics.refresh(await read()));
  return metrics;
}
