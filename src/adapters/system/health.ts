/**
 * What a supervisor asks a process: whether it lives (`/livez`), and whether it does its work (`/readyz`). Plain HTTP, and nothing but
 * a word or a reason is told, so it may be served to everybody.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostAndPort } from "../../core/addresses.ts";
import { LockstepError } from "../../core/errors.ts";

export interface Health {
  readonly address: string;
  /** Null: it does its work; or why not, as a sentence. */
  note(whyNot: string | null): void;
  close(): void;
}

/** Serves on "host:port" (port 0: any free one). "address-unavailable": it cannot be had. */
export async function serveHealth(listen: string): Promise<Health> {
  let whyNot: string | null = "it is starting";
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
    const text = (status: number, body: string) =>
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${body}\n`);
    if (request.url === "/livez") text(200, "ok");
    else if (request.url !== "/readyz") text(404, "There are /livez and /readyz.");
    else if (whyNot === null) text(200, "ok");
    else text(503, whyNot);
  });
  server.maxConnections = 64;
  const { host, port } = hostAndPort(listen);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new LockstepError("address-unavailable", `Health cannot be served on ${listen}: ${error.message}.`, {
          hint: "Give another --health, or leave it out.",
          cause: error,
        }),
      ),
    );
    server.listen(Number(port), host, resolve);
  });
  // It is no reason for a process to stay.
  server.unref();
  const bound = server.address() as AddressInfo; // it listens on a port
  return {
    address: `${listen.slice(0, listen.lastIndexOf(":"))}:${bound.port}`,
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
export const noHealth: Health = { address: "", note: () => {}, close: () => {} };
