/**
 * What changed in a view since somebody saw it: whole sections when they changed, and of rows only the new ones. Each change
 * has a version, so whoever lost the connection is told what came since, whatever it has missed.
 */
import type { DashboardView, Rows } from "./dashboard-view.ts";
import { encodeJson } from "./json.ts";

const wholes = ["status", "timeline", "checkpoints", "health"] as const satisfies readonly (keyof DashboardView)[];
const lists = ["history", "rates", "decisions"] as const satisfies readonly (keyof DashboardView)[];
type Whole = (typeof wholes)[number];
type List = (typeof lists)[number];

export type Patch = { readonly section: Whole; readonly value: unknown } | RowsPatch;

/** Rows before `from` stay, but for those before `first`, which are forgotten; `items` take the place of all others. */
export interface RowsPatch {
  readonly section: List;
  readonly first: number;
  readonly from: number;
  readonly items: readonly unknown[];
}

interface SeenRows {
  readonly first: number;
  readonly items: readonly unknown[];
  /** The version in which each row came. */
  readonly versions: readonly number[];
  /** In which rows were last taken away, or changed. */
  readonly changed: number;
}

export class ViewFeed {
  #version = 0;
  readonly #wholes = new Map<Whole, { readonly text: string; readonly version: number }>();
  readonly #lists = new Map<List, SeenRows>();
  #view: DashboardView | null = null;

  get version(): number {
    return this.#version;
  }

  /** Takes the view as it is now. True: something is new. */
  advance(view: DashboardView): boolean {
    const version = this.#version + 1;
    const before = this.#view;
    this.#view = view;
    let isNew = false;
    for (const section of wholes) {
      if (before?.[section] === view[section]) continue;
      const text = encodeJson(view[section]);
      if (this.#wholes.get(section)?.text === text) continue;
      this.#wholes.set(section, { text, version });
      isNew = true;
    }
    for (const section of lists) {
      const seen = this.#lists.get(section) ?? null;
      const now = seenRows(seen, view[section], version);
      this.#lists.set(section, now);
      if (!seen || now.changed === version || now.versions.at(-1) === version) isNew = true;
    }
    if (isNew) this.#version = version;
    return isNew;
  }

  /** What whoever saw `version` lacks; null: it has seen nothing, and lacks everything. */
  since(version: number | null): readonly Patch[] {
    const view = this.#view;
    if (!view) return [];
    const seen = version ?? -1;
    const changed = wholes
      .filter((section) => this.#wholes.get(section)!.version > seen)
      .map((section): Patch => ({ section, value: view[section] }));
    const rows = lists.flatMap((section): Patch[] => {
      const { first, items, versions, changed: anew } = this.#lists.get(section)!;
      const at = anew > seen ? 0 : versions.findIndex((one) => one > seen);
      return at < 0 ? [] : [{ section, first, from: first + at, items: items.slice(at) }];
    });
    return [...changed, ...rows];
  }
}

function seenRows(before: SeenRows | null, { first, items }: Rows<unknown>, version: number): SeenRows {
  const skipped = before ? first - before.first : 0;
  const kept = before && skipped >= 0 ? before.items.slice(skipped) : [];
  const isSame = (item: unknown, i: number): boolean => item === items[i] || encodeJson(item) === encodeJson(items[i]);
  const goesOn = before !== null && skipped >= 0 && kept.length <= items.length && kept.every(isSame);
  const old = goesOn ? before.versions.slice(skipped) : [];
  return {
    first,
    items,
    versions: items.map((_, i) => old[i] ?? version),
    changed: goesOn ? before.changed : version,
  };
}

/** What the receiver makes of its rows when a patch comes. */
export function patchedRows<T>(rows: Rows<T>, { first, from, items }: RowsPatch): Rows<T> {
  const kept = rows.items.slice(Math.max(0, first - rows.first), Math.max(0, from - rows.first));
  return { first, items: [...kept, ...(items as readonly T[])] };
}
