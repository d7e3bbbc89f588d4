/** Traces, where OpenTelemetry's environment variables name a place for them: what makes them is loaded only then. */
import { packageVersion } from "../adapters/system/package-root.ts";
import { systemClock } from "../adapters/system/clock.ts";
import type { Spans, TracedProcess } from "../adapters/tracing/tracer.ts";
import type { WorkerTraces } from "../adapters/tracing/worker-traces.ts";
import type { Log } from "../ports/log.ts";

const lookEveryMs = 50;

export type Traced = Omit<TracedProcess, "version">;

/** Null: nobody wants them. */
export async function openSpans(traced: Traced, log: Log): Promise<Spans | null> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, ...variables } = process.env;
  const endpoint = OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || OTEL_EXPORTER_OTLP_ENDPOINT;
  if (!endpoint || variables.OTEL_SDK_DISABLED === "true" || variables.OTEL_TRACES_EXPORTER === "none") return null;
  const protocol = variables.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || variables.OTEL_EXPORTER_OTLP_PROTOCOL;
  if (protocol && protocol !== "http/json") {
    log.warn("traces are sent as http/json, not as was asked for", { asked: protocol });
  }
  const { Spans } = await import("../adapters/tracing/tracer.ts");
  log.info("sending traces", { endpoint });
  return new Spans({ ...traced, version: packageVersion() }, log);
}

export async function openWorkerTraces(traced: Traced, log: Log): Promise<WorkerTraces | null> {
  const spans = await openSpans(traced, log);
  if (spans === null) return null;
  const { WorkerTraces } = await import("../adapters/tracing/worker-traces.ts");
  return new WorkerTraces(spans, () => systemClock.wallMs());
}

/** What cannot be sent soon is tried again for seconds, which keeps the process: it ends as soon as its exit code is decided. */
export async function closeTraces(traces: WorkerTraces | null): Promise<void> {
  if (traces === null) return;
  await traces.close();
  const look = setInterval(() => {
    if (process.exitCode !== undefined) process.exit();
  }, lookEveryMs);
  look.unref();
}
