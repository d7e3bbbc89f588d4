/**
 * Spans by OpenTelemetry, sent as OTLP over HTTP in JSON to where its environment variables say. All that processes tell of one step, or of
 * one generation, is one trace: its id is a function of the run and of that step or generation, so nobody has to pass it on.
 */
import { createHash, randomBytes } from "node:crypto";
import { type Attributes, type Context, ROOT_CONTEXT, type Tracer, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import { messageOf } from "../../core/errors.ts";
import type { Log } from "../../ports/log.ts";

export interface TracedProcess {
  readonly job: string;
  readonly run: number;
  /** "coordinator", or a worker's name. */
  readonly process: string;
  /** Of lockstep. */
  readonly version: string;
}

export interface SpanTime {
  /** Milliseconds since 1970, with fractions. */
  readonly startMs: number;
  readonly endMs: number;
}

/** What is left unsent when a process ends is given this long. */
const closeMs = 1000;

export class Spans {
  readonly #run: string;
  readonly #tracer: Tracer;
  readonly #provider: BasicTracerProvider;
  /** Of the next trace that is begun. */
  #traceId = "";

  constructor({ job, run, process, version }: TracedProcess, log: Log) {
    this.#run = `${job}/${run}`;
    const own = { "service.name": "lockstep", "service.version": version, "service.instance.id": `${job}/${process}` };
    const place = { "lockstep.job": job, "lockstep.run": run, "lockstep.process": process };
    this.#provider = new BasicTracerProvider({
      // What the environment says of the process wins.
      resource: defaultResource()
        .merge(resourceFromAttributes({ ...own, ...place }))
        .merge(detectResources({ detectors: [envDetector] })),
      idGenerator: {
        generateTraceId: () => this.#traceId,
        generateSpanId: () => randomBytes(8).toString("hex"),
      },
      spanProcessors: [new BatchSpanProcessor(watched(new OTLPTraceExporter(), log))],
    });
    this.#tracer = this.#provider.getTracer("lockstep", version);
  }

  /** A span that its children are told of afterwards. `trace` names what it is a part of, as "generation/3". */
  root(traceName: string, name: string, time: SpanTime, attributes: Attributes): Context {
    this.#traceId = createHash("sha256").update(`${this.#run}/${traceName}`).digest("hex").slice(0, 32);
    return this.#span(name, time, attributes, ROOT_CONTEXT);
  }

  child(parent: Context, name: string, time: SpanTime, attributes: Attributes = {}): void {
    this.#span(name, time, attributes, parent);
  }

  /** Sends what is left, if that can be done soon. */
  async close(): Promise<void> {
    const timer = new AbortController();
    const late = new Promise<void>((resolve) => {
      const timeout = setTimeout(resolve, closeMs);
      timer.signal.addEventListener("abort", () => clearTimeout(timeout));
    });
    await Promise.race([this.#provider.shutdown().catch(() => undefined), late]);
    timer.abort();
  }

  #span(name: string, { startMs, endMs }: SpanTime, attributes: Attributes, parent: Context): Context {
    const span = this.#tracer.startSpan(name, { startTime: startMs, attributes }, parent);
    span.end(endMs);
    return trace.setSpan(parent, span);
  }
}

/** The same exporter; that nothing arrives is logged at the first time, and at ten times as often. */
function watched(exporter: SpanExporter, log: Log): SpanExporter {
  let failures = 0;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.code !== 0 && /^10*$/.test(String(++failures))) {
          log.warn("traces could not be sent", { failures, reason: messageOf(result.error) });
        }
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}
