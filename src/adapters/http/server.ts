/**
 * The one HTTP server of a process. `/livez` says whether it lives and `/readyz` whether it does its work; nothing but a word or a
 * reason is told there, to everybody. Whoever has something else to serve registers a route, and `access.ts` says who sees it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hostAndPort, isLoopback } from "../../core/addresses.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Refusals } from "../../core/refusals.ts";
import type { Log } from "../../ports/log.ts";
import { type Access, accessOf, cookieName, type Door, wrongToken } from "./access.ts";
import type { HttpToken } from "./token.ts";

export interface Http {
  /** "host:port"; empty where nothing is served. */
  readonly address: string;
  /**
   * Serves a path, or all paths below one that ends in "/"; the longest that fits is asked. GET routes answer HEAD too. Answers are
   * not kept by browsers unless the handler sets another Cache-Control. Whatever the handler throws is answered with status 500.
   */
  route(path: string, handler: HttpHandler, method?: "GET" | "POST"): void;
  /** For /readyz. Null: it does its work; or why not, as a sentence. */
  note(whyNot: string | null): void;
  close(): void;
}

export interface HttpRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
}

export type HttpHandler = (request: HttpRequest) => void | Promise<void>;

export interface HttpOptions {
  /** "host:port"; port 0: any free one. */
  readonly listen: string;
  /** Null: only this machine sees more than the two health paths. */
  readonly token: HttpToken | null;
  readonly refusals: Refusals;
  readonly log: Log;
}

const securityHeaders = {
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};
const mostConnections = 256;
const requestTimeoutMs = 5000;

type Routes = Map<string, { GET?: HttpHandler; POST?: HttpHandler }>;

/** "address-unavailable": it cannot be had. */
export async function serveHttp({ listen, token, refusals, log }: HttpOptions): Promise<Http> {
  const { host, port } = hostAndPort(listen);
  const routes: Routes = new Map();
  let whyNot: string | null = "it is starting";
  const health = {
    "/livez": () => null,
    "/readyz": () => whyNot,
  } as const;
  const door = { isLocal: isLoopback(host), port: 0, token };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
    const url = urlOf(request);
    if (url === null) return sendText(response, 400, "The address of the request cannot be read.");
    if (url.pathname === "/livez" || url.pathname === "/readyz") {
      if (!isGet(request)) return notAllowed(response, "GET, HEAD");
      const reason = health[url.pathname]();
      return sendText(response, reason === null ? 200 : 503, reason ?? "ok");
    }
    const access = (await opened(request, response, url, door)) ?? (await accessOf(request, door));
    if (access.kind === "answered") return;
    if (access.kind === "refused") {
      const from = request.socket.remoteAddress ?? "an address that is gone";
      refusals.note({ kind: access.why, from, detail: `${request.method} ${url.pathname.slice(0, 100)}` });
      if (access.status === 401) response.setHeader("www-authenticate", "Bearer");
      return sendText(response, access.status, access.sentence);
    }
    const methods = routeFor(routes, url.pathname);
    if (methods === null) {
      const known = ["/livez", "/readyz", ...routes.keys()].join(", ");
      return sendText(response, 404, `There is nothing at ${url.pathname}. There is ${known}.`);
    }
    const handler = isGet(request) ? methods.GET : request.method === "POST" ? methods.POST : undefined;
    if (handler) return handler({ request, response, url });
    return notAllowed(response, [methods.GET && "GET, HEAD", methods.POST && "POST"].filter(Boolean).join(", "));
  };
  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs },
    (request, response) => {
      answer(request, response).catch((error: unknown) => {
        log.warn("an HTTP request failed", { path: request.url?.split("?")[0], error: messageOf(error) });
        if (response.headersSent) response.destroy();
        else sendText(response, 500, "This failed; the process' log says why.");
      });
    },
  );
  server.maxConnections = mostConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new LockstepError("address-unavailable", `HTTP cannot be served on ${listen}: ${error.message}.`, {
          hint: "Give another --http, or leave it out.",
          cause: error,
        }),
      ),
    );
    server.listen(port, host, resolve);
  });
  // It is no reason for a process to stay.
  server.unref();
  const bound = server.address() as AddressInfo; // it listens on a port
  door.port = bound.port;
  return {
    address: `${listen.slice(0, listen.lastIndexOf(":"))}:${bound.port}`,
    route: (path, handler, method = "GET") => {
      routes.set(path, { ...routes.get(path), [method]: handler });
    },
    note: (reason) => {
      whyNot = reason;
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Where nobody asks. */
export const noHttp: Http = { address: "", route: () => {}, note: () => {}, close: () => {} };

export function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
}

/** A browser that shows the token in an address is given a cookie, and the address without it; null: it is something else. */
async function opened(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  { token, port }: Door,
): Promise<{ readonly kind: "answered" } | Access | null> {
  const given = url.searchParams.get("token");
  if (given === null || url.pathname !== "/" || !isGet(request) || token === null) return null;
  if (!(await token.matches(given))) return wrongToken;
  const cookie = `${cookieName(port)}=${await token.cookie()}; HttpOnly; SameSite=Strict; Path=/`;
  response.writeHead(303, { location: "/", "set-cookie": cookie }).end();
  return { kind: "answered" };
}

function routeFor(routes: Routes, path: string): { GET?: HttpHandler; POST?: HttpHandler } | null {
  const exact = routes.get(path);
  if (exact) return exact;
  for (let end = path.lastIndexOf("/"); end >= 0; end = end === 0 ? -1 : path.lastIndexOf("/", end - 1)) {
    const methods = routes.get(path.slice(0, end + 1));
    if (methods) return methods;
  }
  return null;
}

function urlOf({ url }: IncomingMessage): URL | null {
  const base = "http://localhost";
  return url !== undefined && URL.canParse(url, base) ? new URL(url, base) : null;
}

function isGet({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}

function notAllowed(response: ServerResponse, methods: string): void {
  response.setHeader("allow", methods);
  sendText(response, 405, `Only ${methods} may be sent there.`);
}
