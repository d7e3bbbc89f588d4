import { createRequire } from "node:module";
import type { Logger } from "pino";
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
  /** What is known of the process at this moment: JSON lines carry it where they do not say otherwise themselves. */
  readonly context?: () => LogFields;
}

type Write = (level: LogLevel, message: string, fields: LogFields) => void;

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A log of one line an entry. Fields whose value is undefined are left out. */
export function createLog(options: LogOptions): Log {
  return logWith(options.format === "json" ? jsonWriter(options) : textWriter(options), {});
}

function logWith(write: Write, own: LogFields): Log {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => write(level, message, { ...own, ...fields });
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => logWith(write, { ...own, ...fields }),
  };
}

function textWriter({ stream, level: least, clock = systemClock }: LogOptions): Write {
  return (level, message, fields) => {
    if (levels.indexOf(level) < levels.indexOf(least)) return;
    stream.write(`${textLine(new Date(clock.wallMs()), level, message, fields)}\n`);
  };
}

/** `{"level":"warn","time":"2026-01-31T12:03:04.567Z","key":"value",…,"message":"…"}` */
function jsonWriter({ stream, level: least, clock = systemClock, context = () => ({}) }: LogOptions): Write {
  // Not before it is needed: a command at a terminal logs no JSON.
  const { pino } = createRequire(import.meta.url)("pino") as typeof import("pino");
  const logger: Logger = pino(
    {
      base: null,
      level: least,
      messageKey: "message",
      timestamp: () => `,"time":"${new Date(clock.wallMs()).toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    { write: (line) => void stream.write(line) },
  );
  return (level, message, fields) => {
    if (!logger.isLevelEnabled(level)) return;
    // The line's own fields come first; its own three keys are nobody else's.
    const { time: _time, level: _level, message: _message, ...others } = { ...fields, ...context(), ...fields };
    logger[level](others, message);
  };
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
 * A line as `createLog` writes it in JSON, as text, with the process' context at its end; any other line as it is.
 * @param known fields that the reader knows anyway
 */
export function entryText(line: string, known: readonly string[] = []): string {
  const entry = line.startsWith("{") ? parsed(line) : null;
  if (entry === null) return line;
  const { time, level, message, ...fields } = entry;
  if (typeof time !== "string" || typeof message !== "string") return line;
  const others = Object.fromEntries(Object.entries(fields).filter(([name]) => !known.includes(name)));
  return textLine(new Date(time), level as LogLevel, message, others as LogFields); // as jsonWriter has written it
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
