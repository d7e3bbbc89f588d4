/**
 * The dashboard over HTTP: the page, its view as one document and as a stream of changes, and what the page may do. The source
 * is asked once a second for all who look together, and never while nobody does.
 */
import type { ServerResponse } from "node:http";
import { type ErrorCode, LockstepError, messageOf } from "../../core/errors.ts";
import { encodeJson } from "../../core/json.ts";
import { isPlainName } from "../../core/manifest.ts";
import { ViewFeed } from "../../core/view-feed.ts";
import type { Clock } from "../../ports/clock.ts";
import type { DashboardSource } from "../../ports/dashboard.ts";
import type { PageFile } from "./page.ts";
import { type Http, type HttpRequest, sendText } from "./server.ts";

const lookEveryMs = 1000;
/** Nobody who ends waits for longer. */
const lastLookMs = 500;
/** A word that says nothing else, so that both ends notice when the other is gone. */
const heartbeatMs = 15_000;
const mostListeners = 64;

export interface DashboardOptions {
  readonly http: Http;
  readonly source: DashboardSource;
  readonly clock: Clock;
  /** As `readPage`: asked until there is one, so whoever builds it has to start nothing again. */
  readonly page: () => Promise<ReadonlyMap<string, PageFile> | null>;
  /** Names this process: versions of another one's feed mean nothing here. */
  readonly boot: string;
}

export function serveDashboard({ http, source, clock, page, boot }: DashboardOptions): { close(): Promise<void> } {
  const stream = new EventStream(source, clock, boot);
  let known: ReadonlyMap<string, PageFile> | null = null;
  http.route("/", async ({ response, url }) => {
    known ??= await page();
    servePage(response, url.pathname, known);
  });
  http.route("/api/view", async ({ response }) => {
    const view = await source.view().catch((error: unknown) => failed(response, error));
    if (view) sendDocument(response, 200, view);
  });
  http.route("/api/events", ({ request, response }) => {
    if (request.method === "HEAD") response.end();
    else stream.add(response, request.headers["last-event-id"]);
  });
  http.route("/api/checkpoints/", (request) => serveDownload(request, source));
  http.route("/api/checkpoints/", (request) => changePin(request, source, stream), "POST");
  return { close: () => stream.close() };
}

function servePage(response: ServerResponse, path: string, page: ReadonlyMap<string, PageFile> | null): void {
  if (page === null) {
    sendText(
      response,
      503,
      "The dashboard's page was not built: run `npm run build` in lockstep's folder, and load this again.",
    );
    return;
  }
  const file = page.get(path);
  if (!file) {
    sendText(response, 404, `There is nothing at ${path}.`);
    return;
  }
  const keep = file.isImmutable ? "public, max-age=31536000, immutable" : "no-cache";
  response.writeHead(200, {
    ...{ "content-type": file.type, "content-length": file.bytes.length, "cache-control": keep },
  });
  response.end(file.bytes);
}

interface Listener {
  readonly response: ServerResponse;
  /** What it has been sent; null: nothing. */
  version: number | null;
  isFull: boolean;
  trouble: string | null;
}

/** Who looks, and what each of them was told. */
class EventStream {
  readonly #source: DashboardSource;
  readonly #clock: Clock;
  readonly #boot: string;
  readonly #feed = new ViewFeed();
  readonly #listeners = new Set<Listener>();
  readonly #closed = new AbortController();
  #isLooking = false;
  #looked: Promise<void> = Promise.resolve();
  #lookedMs = Number.NEGATIVE_INFINITY;
  #trouble: string | null = null;
  /** Messages of the newest version, by the version that they go on from: most pages have seen the same. */
  readonly #messages = new Map<number | null, string>();

  constructor(source: DashboardSource, clock: Clock, boot: string) {
    this.#source = source;
    this.#clock = clock;
    this.#boot = boot;
  }

  add(response: ServerResponse, lastEventId: string | string[] | undefined): void {
    if (this.#listeners.size >= mostListeners) {
      sendText(response, 503, `${mostListeners} pages are open already; close one.`);
      return;
    }
    const [boot, version] = String(lastEventId ?? "").split(":");
    const seen = boot === this.#boot && /^\d+$/.test(version ?? "") ? Number(version) : null;
    const listener: Listener = { response, version: seen, isFull: false, trouble: null };
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" });
    response.write("retry: 1000\n\n");
    response.on("close", () => this.#listeners.delete(listener));
    response.on("drain", () => {
      listener.isFull = false;
    });
    this.#listeners.add(listener);
    void this.#follow();
    // The loop may be asleep; whoever comes is told at once.
    void this.look().then(() => this.#tell(listener));
  }

  /** Asks the source, unless that was done a moment ago. */
  look(isNow = false): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (!isNow && nowMs - this.#lookedMs < lookEveryMs / 2) return this.#looked;
    this.#lookedMs = nowMs;
    this.#looked = this.#source.view().then(
      (view) => {
        if (this.#feed.advance(view)) this.#messages.clear();
        this.#trouble = null;
      },
      (error: unknown) => {
        this.#trouble = messageOf(error);
      },
    );
    return this.#looked;
  }

  tellAll(): void {
    for (const listener of this.#listeners) this.#tell(listener);
  }

  /** Tells how it has ended, for the run may be over since the last look. */
  async close(): Promise<void> {
    this.#closed.abort();
    if (this.#listeners.size > 0) {
      const timer = new AbortController();
      await Promise.race([this.look(true), this.#clock.sleep(lastLookMs, timer.signal).catch(() => undefined)]);
      timer.abort();
      this.tellAll();
    }
    for (const { response } of this.#listeners) response.end();
  }

  /** Looks once a second, as long as somebody is there. */
  async #follow(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    let spokeMs = this.#clock.monotonicMs();
    try {
      while (this.#listeners.size > 0) {
        await this.#clock.sleep(lookEveryMs, this.#closed.signal);
        await this.look(true);
        this.tellAll();
        if (this.#clock.monotonicMs() - spokeMs < heartbeatMs) continue;
        spokeMs = this.#clock.monotonicMs();
        for (const { response, isFull } of this.#listeners) if (!isFull) response.write("event: here\ndata: 0\n\n");
      }
    } catch {
      // It is closed.
    } finally {
      this.#isLooking = false;
    }
  }

  /** Nothing is kept for one that does not read: once it does, it is told what came since. */
  #tell(listener: Listener): void {
    if (listener.isFull || listener.response.destroyed) return;
    const texts: string[] = [];
    if (this.#trouble !== listener.trouble) {
      listener.trouble = this.#trouble;
      texts.push(`event: trouble\ndata: ${encodeJson(this.#trouble)}\n\n`);
    }
    if (listener.version !== this.#feed.version) {
      const message = this.#messageSince(listener.version);
      listener.version = this.#feed.version;
      if (message !== "") texts.push(message);
    }
    if (texts.length > 0) listener.isFull = !listener.response.write(texts.join(""));
  }

  /** Empty: nothing is to be told. */
  #messageSince(version: number | null): string {
    const known = this.#messages.get(version);
    if (known !== undefined) return known;
    const patches = this.#feed.since(version);
    const message =
      patches.length === 0 ? "" : `id: ${this.#boot}:${this.#feed.version}\ndata: ${encodeJson(patches)}\n\n`;
    this.#messages.set(version, message);
    return message;
  }
}

async function serveDownload({ response, url }: HttpRequest, source: DashboardSource): Promise<void> {
  const { id, what } = wanted(url);
  if (id === null || what !== "export" || !source.download) {
    sendText(response, 404, "A checkpoint's weights are at /api/checkpoints/ID/export, where this process sees them.");
    return;
  }
  const download = await source.download(id).catch((error: unknown) => failed(response, error));
  if (!download) return;
  response.writeHead(200, {
    "content-type": "application/octet-stream",
    "content-length": download.sizeBytes,
    "content-disposition": `attachment; filename="${download.name}"`,
  });
  for (const part of download.parts) {
    if (!response.write(part)) await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
    if (response.destroyed) return;
  }
  response.end();
}

async function changePin({ response, url }: HttpRequest, source: DashboardSource, stream: EventStream): Promise<void> {
  const { id, what } = wanted(url);
  if (id === null || (what !== "pin" && what !== "unpin") || !source.setPinned) {
    sendText(response, 404, "A checkpoint is pinned by a POST to /api/checkpoints/ID/pin, where that can be done.");
    return;
  }
  const isDone = await source.setPinned(id, what === "pin").then(
    () => true,
    (error: unknown) => failed(response, error),
  );
  if (!isDone) return;
  sendDocument(response, 200, { id, pinned: what === "pin" });
  await stream.look(true);
  stream.tellAll();
}

function wanted({ pathname }: URL): { readonly id: string | null; readonly what: string } {
  const [, id = "", what = ""] = /^\/api\/checkpoints\/([^/]+)\/([a-z]+)$/.exec(pathname) ?? [];
  return { id: isPlainName(id) ? id : null, what };
}

const statuses: Partial<Record<ErrorCode, number>> = { usage: 409, "coordination-unavailable": 503 };

function failed(response: ServerResponse, error: unknown): null {
  const known = error instanceof LockstepError ? error : null;
  sendDocument(response, (known && statuses[known.code]) ?? 500, {
    message: messageOf(error),
    hint: known?.hint ?? null,
  });
  return null;
}

function sendDocument(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(encodeJson(value));
}
