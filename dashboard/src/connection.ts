/** The stream of changes: opened again whenever it is lost, and told to whoever shows it. */
import type { DashboardView, Rows } from "../../src/core/dashboard-view.ts";
import { decodeJson } from "../../src/core/json.ts";
import { type Patch, patchedRows, type RowsPatch } from "../../src/core/view-feed.ts";

export interface Shown {
  /** Null until the first message. */
  readonly view: DashboardView | null;
  readonly connection: "connecting" | "connected" | "lost";
  /** Why the server has nothing new to tell; null while it has. */
  readonly trouble: string | null;
}

const retryMs = 2000;
/** The server says a word at least every 15 seconds. */
const silenceMs = 40_000;

const nothing: Rows<never> = { first: 0, items: [] };

/** Calls back with every change. */
export function connect(onChange: (shown: Shown) => void): void {
  let shown: Shown = { view: null, connection: "connecting", trouble: null };
  let parts: Partial<DashboardView> = {};
  let source: EventSource | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;
  const show = (change: Partial<Shown>) => {
    shown = { ...shown, ...change };
    onChange(shown);
  };
  const lose = () => {
    clearTimeout(silence);
    show({ connection: "lost" });
    // The browser tries again by itself, but for an answer that is none, as 503.
    if (source?.readyState === EventSource.CLOSED) setTimeout(open, retryMs);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(open, silenceMs);
    if (shown.connection !== "connected") show({ connection: "connected" });
  };
  const open = () => {
    source?.close();
    source = new EventSource("/api/events");
    source.onopen = heard;
    source.onerror = lose;
    source.addEventListener("here", heard);
    source.addEventListener("trouble", ({ data }) => {
      heard();
      show({ trouble: decodeJson<string | null>(data) });
    });
    source.onmessage = ({ data }) => {
      heard();
      parts = decodeJson<readonly Patch[]>(data).reduce(patched, parts);
      if (isWhole(parts)) show({ view: parts });
    };
  };
  open();
}

function patched(parts: Partial<DashboardView>, patch: Patch): Partial<DashboardView> {
  if ("value" in patch) return { ...parts, [patch.section]: patch.value };
  const { section } = patch;
  return { ...parts, [section]: patchedRows<unknown>(parts[section] ?? nothing, patch satisfies RowsPatch) };
}

/** The first message has every section. */
function isWhole(parts: Partial<DashboardView>): parts is DashboardView {
  return parts.status !== undefined && parts.history !== undefined && parts.checkpoints !== undefined;
}
