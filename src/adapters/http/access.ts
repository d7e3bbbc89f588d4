/**
 * Who may see what a process serves over HTTP. On a loopback address without a token: whoever is on this machine, but no page of
 * the web, which could have its own name lead here (DNS rebinding) or send a form. Elsewhere, and where there is a token: whoever
 * shows it, as `Authorization: Bearer`, or as the cookie that a browser was given for it.
 */
import type { IncomingMessage } from "node:http";
import { hostAndPort, isLoopback } from "../../core/addresses.ts";
import type { RefusalKind } from "../../core/refusals.ts";
import type { HttpToken } from "./token.ts";

export type Access =
  | { readonly kind: "granted" }
  | { readonly kind: "refused"; readonly status: 401 | 403; readonly why: RefusalKind; readonly sentence: string };

export interface Door {
  /** Only processes of this machine reach the server. */
  readonly isLocal: boolean;
  readonly port: number;
  readonly token: HttpToken | null;
}

/** Browsers send cookies to all ports of a host. */
export const cookieName = (port: number): string => `lockstep-${port}`;

export async function accessOf(request: IncomingMessage, door: Door): Promise<Access> {
  const host = request.headers.host ?? "";
  if (door.token === null) {
    if (!door.isLocal) return needsToken;
    if (!isLoopback(hostAndPort(/:\d+$/.test(host) ? host : `${host}:80`).host)) return foreignName(host);
  } else {
    const refused = await showsToken(request, door.token, door.port);
    if (refused) return refused;
  }
  return request.method === "POST" && !isOfThisPage(request, host) ? foreignPage : { kind: "granted" };
}

/** Null: it does. */
async function showsToken({ headers }: IncomingMessage, token: HttpToken, port: number): Promise<Access | null> {
  const bearer = /^Bearer +(.+)$/i.exec(headers.authorization ?? "")?.[1];
  if (bearer !== undefined) return (await token.matches(bearer.trim())) ? null : wrongToken;
  const cookie = cookieIn(headers.cookie ?? "", cookieName(port));
  if (cookie !== undefined) return (await token.matchesCookie(cookie)) ? null : wrongToken;
  return noToken;
}

function cookieIn(header: string, name: string): string | undefined {
  const pairs = header.split(";").map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** Programs send no Origin; browsers always do with what changes something. */
function isOfThisPage({ headers }: IncomingMessage, host: string): boolean {
  const { origin } = headers;
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
}

const toShow = "send it as `Authorization: Bearer TOKEN`, or open /?token=TOKEN once in a browser";

const refused = (status: 401 | 403, why: RefusalKind, sentence: string): Access => ({
  kind: "refused",
  status,
  why,
  sentence,
});

const needsToken = refused(
  401,
  "HTTP without a token",
  "Beyond this machine only /livez and /readyz are served without a token: start the process with --http-token FILE.",
);
const noToken = refused(401, "HTTP without the token", `The token is missing: ${toShow}.`);
export const wrongToken = refused(
  401,
  "wrong HTTP token",
  `That is not the token, which is in the file that --http-token names: ${toShow}.`,
);
const foreignPage = refused(
  403,
  "HTTP from another page",
  "Only this server's own pages, and programs, may change something.",
);

function foreignName(host: string): Access {
  const name = JSON.stringify(host.slice(0, 100));
  return refused(
    403,
    "HTTP by a foreign name",
    `The Host header says ${name}; without --http-token only this machine's own names are served, as localhost and 127.0.0.1.`,
  );
}
