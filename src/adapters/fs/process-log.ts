/** The log file of a process that is started again and again: one section a start, the newest last. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { LogLine } from "../../core/log-reading.ts";

export const startMessage = "process started";

/** The line that a section begins with. */
export function sectionHead(process: string, at: Date): string {
  return JSON.stringify({ time: at.toISOString(), level: "info", message: startMessage, process });
}

/** Where a section lies in its file, in bytes. `end` is left out for the newest, which may grow. */
export interface Section {
  readonly start: number;
  readonly end?: number;
}

/**
 * The newest section, or the one before it; null when there is no such one. What an older lockstep has written is a section
 * without a head.
 */
export async function findSection(path: string, which: "newest" | "previous"): Promise<Section | null> {
  const { size } = await stat(path);
  if (size === 0) return null;
  const heads: number[] = [];
  let offset = 0;
  for await (const line of linesOf(path, { start: 0 })) {
    if (line.includes(`"message":"${startMessage}"`)) heads.push(offset);
    offset += Buffer.byteLength(line) + 1;
  }
  if (heads[0] !== 0) heads.unshift(0);
  const start = heads.at(which === "newest" ? -1 : -2);
  if (start === undefined) return null;
  return which === "newest" ? { start } : { start, end: heads.at(-1)! };
}

/** The lines of a section, one after the other, whatever its size. */
export async function* linesOf(path: string, { start, end }: Section): AsyncGenerator<string> {
  // The stream's own end is the last byte that it reads.
  const stream = createReadStream(path, { start, ...(end === undefined ? {} : { end: end - 1 }) });
  yield* createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
}

/** Null for what is no line of a log: other output, and the last words of a process that was killed. */
export function parseLogLine(process: string, text: string): LogLine | null {
  if (!text.startsWith("{")) return null;
  try {
    const fields = JSON.parse(text) as Record<string, unknown>; // it begins as an object
    const atMs = Date.parse(String(fields.time));
    return Number.isFinite(atMs) ? { ...fields, process, atMs } : null;
  } catch {
    return null;
  }
}
