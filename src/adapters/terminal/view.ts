import type { Writable } from "node:stream";
import type { CheckpointPolicy } from "../../core/checkpoint-policy.ts";
import type { RunResult } from "../../core/run-result.ts";
import type { ClusterStatus } from "../../core/status.ts";
import type { Earlier } from "./journal.ts";
import { JsonView } from "./json-view.ts";
import { LiveView } from "./live-view.ts";
import { PlainView } from "./plain-view.ts";
import { colorStyle, plainStyle } from "./style.ts";

/** What `launch`, and `status --watch`, show while a cluster runs. */
export interface LaunchView {
  /** Set-up progress, a decision, a warning; one line, or several with line breaks between. */
  say(line: string): void;
  /** The cluster as it was found: for people, what was trained before is one line, and no news with the first update. */
  earlier(status: ClusterStatus, when?: Earlier): void;
  /** A snapshot of the cluster. It may repeat, skip, or lag behind; give them as often as they come. */
  update(status: ClusterStatus): void;
  /** The run is over; prints the summary. Nothing but `say` and `close` should follow. */
  finished(result: RunResult): void;
  /** Gives the terminal back. May be called at any time, and again. */
  close(): void;
}

export type ViewMode = "live" | "plain" | "json";

export interface ViewOptions {
  readonly mode: ViewMode;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** The terminal's width now; it may change. */
  readonly columns: () => number;
  readonly color: boolean;
  readonly policy: CheckpointPolicy;
}

export function createView(options: ViewOptions): LaunchView {
  const { mode, color } = options;
  switch (mode) {
    case "live":
      return new LiveView({ ...options, style: color ? colorStyle : plainStyle });
    case "plain":
      return new PlainView(options);
    case "json":
      return new JsonView(options);
  }
}

/** JSON when asked for; live on a terminal that can move its cursor; plain lines everywhere else. */
export function chooseMode(json: boolean, stdout: MaybeTerminal, environment = process.env): ViewMode {
  if (json) return "json";
  return stdout.isTTY === true && environment.TERM !== "dumb" ? "live" : "plain";
}

/** Colour only on a terminal, and not against the reader's wish (NO_COLOR, see no-color.org). */
export function chooseColor(stdout: MaybeTerminal, environment = process.env): boolean {
  return stdout.isTTY === true && environment.TERM !== "dumb" && !environment.NO_COLOR;
}

/** A stream that may be a terminal. */
export interface MaybeTerminal {
  readonly isTTY?: boolean;
}
