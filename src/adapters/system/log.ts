import type { Clock } from "../../ports/clock.ts";
import type { Log, LogFields, LogLevel } from "../../ports/log.ts";
import { systemClock } from "./clock.ts";

export interface LogOptions {
  /** Where the lines go; standard error for a process whose standard output is for results. */
  readonly stream: { write(text: string): unknown };
  /** "text" for people at a terminal, "json" for everything that collects lines. */
  readonly format: "text" | "json";
  /** The least level that is written. */
  readonly level: LogLevel;
  readonly clock?: Clock;
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A log of one line an entry. Fields whose value is undefined are left out. */
export function createLog(options: LogOptions): Log {
  return logWith(options, {});
}

function logWith(options: LogOptions, context: LogFields): Log {
  const { stream, format, level: least, clock = systemClock } = options;
  const render = format === "json" ? jsonLine : textLine;
  const write = (level: LogLevel, message: string, fields: LogFields = {}): void => {
    if (levels.indexOf(level) < levels.indexOf(least)) return;
    stream.write(`${render(new Date(clock.wallMs()), level, message, { ...context, ...fields })}\n`);
  };
  return {
    debug: (message, fields) => write("debug", message, fields),
    info: (message, fields) => write("info", message, fields),
    warn: (message, fields) => write("warn", message, fields),
    error: (message, fields) => write("error", message, fields),
    with: (fields) => logWith(options, { ...context, ...fields }),
  };
}

/** `{"time":"2026-01-31T12:03:04.567Z","level":"warn","message":"…","key":"value"}` */
function jsonLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const entry = { time: time.toISOString(), level, message };
  // The entry's own three keys come first and win over fields of the same name.
  return JSON.stringify({ ...entry, ...fields, ...entry });
}

/** `12:03:04 warn  message  key=value other="two words"`, in local time. */
function textLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const clockTime = [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${textValue(value)}`);
  const rest = pairs.length > 0 ? `  ${pairs.join(" ")}` : "";
  return `${clockTime} ${level.padEnd(5)} ${oneLine(message)}${rest}`;
}

/**
 * A line as `createLog` writes it in JSON, as it would have written it as text; any other line as it is.
 * @param known fields that the reader knows anyway
 */
export function entryText(line: string, known: readonly string[] = []): string {
  const entry = line.startsWith("{") ? parsed(line) : null;
  if (entry === null) return line;
  const { time, level, message, ...fields } = entry;
  if (typeof time !== "string" || typeof message !== "string") return line;
  const others = Object.fromEntries(Object.entries(fields).filter(([name]) => !known.includes(name)));
  return textLine(new Date(time), level as LogLevel, message, others as LogFields); // as jsonLine has written it
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>; // it begins as an object
  } catch {
    return null;
  }
}

function textValue(value: LogFields[string]): string {
  return typeof value === "string" && !/^[^\s"=]+$/.test(value) ? JSON.stringify(value) : String(value);
}

/** A message with line breaks, as foreign errors have them, must stay one entry. */
function oneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, " | ");
}
