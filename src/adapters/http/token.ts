/**
 * The secret that opens what a process serves over HTTP. It lies in a file, which may be replaced while the process runs: the new
 * token counts a second later, and the old one no longer.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { Clock } from "../../ports/clock.ts";

const readAgainMs = 1000;
/** Shorter ones can be guessed. */
const leastLength = 16;
/** What `Authorization: Bearer` may carry (RFC 6750, section 2.1). */
const tokenWords = /^[A-Za-z0-9._~+/-]+=*$/;

export class HttpToken {
  readonly #path: string;
  readonly #clock: Clock;
  #token: string;
  #readMs: number;

  private constructor(path: string, clock: Clock, token: string) {
    this.#path = path;
    this.#clock = clock;
    this.#token = token;
    this.#readMs = clock.monotonicMs();
  }

  /** "usage": the file cannot be read, or holds no token. */
  static async open(path: string, clock: Clock): Promise<HttpToken> {
    const token = await tokenIn(path);
    return new HttpToken(path, clock, token);
  }

  /** Whether it is the token; how long that takes says nothing about it. */
  async matches(given: string): Promise<boolean> {
    return isEqual(given, await this.#current());
  }

  /** What a browser keeps in place of the token, which it does not have to know for that. */
  async cookie(): Promise<string> {
    return createHmac("sha256", await this.#current())
      .update("lockstep cookie")
      .digest("hex");
  }

  async matchesCookie(given: string): Promise<boolean> {
    return isEqual(given, await this.cookie());
  }

  async #current(): Promise<string> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#readMs >= readAgainMs) {
      this.#readMs = nowMs;
      // One that cannot be read is being replaced.
      this.#token = await tokenIn(this.#path).catch(() => this.#token);
    }
    return this.#token;
  }
}

async function tokenIn(path: string): Promise<string> {
  const hint = "`openssl rand -hex 32` prints a good one; whoever may read the file can open what it protects.";
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new LockstepError("usage", `--http-token names ${path}, which cannot be read: ${messageOf(error)}.`, {
      hint,
    });
  });
  const token = text.trim();
  if (token.length >= leastLength && tokenWords.test(token)) return token;
  throw new LockstepError(
    "usage",
    `--http-token names ${path}, which holds no token: ${leastLength} or more letters, digits or -._~+/ on one line were expected.`,
    { hint },
  );
}

/** Of hashes, so that lengths are equal. */
function isEqual(one: string, other: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(one), hash(other));
}
