/** What a process serves over HTTP: the options --http and --http-token. */
import { resolve } from "node:path";
import { type Http, type HttpOptions, noHttp, serveHttp } from "../adapters/http/server.ts";
import { HttpToken } from "../adapters/http/token.ts";
import { systemClock } from "../adapters/system/clock.ts";
import { LockstepError } from "../core/errors.ts";
import type { Log } from "../ports/log.ts";
import type { Arguments, Option } from "./command.ts";
import { addressesOf } from "./common.ts";
import type { ProcessSecurity } from "./security.ts";

export const httpOptions = {
  http: {
    value: "HOST:PORT,…",
    help: "serve /livez and /readyz there to everybody, and the rest to this machine or with the token; of several the first that is free (default: nowhere)",
  },
  "http-token": { value: "FILE", help: "a file with the token that opens the rest, also beyond this machine" },
} satisfies Record<string, Option>;

/** Serves what --http asks for, or nothing. */
export async function openHttp(args: Arguments, { refusals }: ProcessSecurity, log: Log): Promise<Http> {
  const file = args.text("http-token");
  if (args.text("http") === undefined) {
    if (file === undefined) return noHttp;
    throw new LockstepError("usage", `--http-token is ${file}, and --http is missing: there is nothing to open.`, {
      hint: "Give --http HOST:PORT too.",
    });
  }
  const places = addressesOf(args, "http");
  const token = file === undefined ? null : await HttpToken.open(resolve(file), systemClock);
  const http = await serveFirst(places, { token, refusals, log });
  log.info("serving HTTP", { http: http.address });
  return http;
}

/** At the first of these addresses that can be had. */
async function serveFirst(
  [listen, ...others]: readonly [string, ...string[]],
  options: Omit<HttpOptions, "listen">,
): Promise<Http> {
  try {
    return await serveHttp({ listen, ...options });
  } catch (error) {
    const [next, ...rest] = others;
    if (next === undefined || !(error instanceof LockstepError) || error.code !== "address-unavailable") throw error;
    return serveFirst([next, ...rest], options);
  }
}
