/** What the coordinator decided and why, and what workers reported; the newest first. */
import { useState } from "preact/hooks";
import type { DecisionEntry } from "../../src/core/dashboard-view.ts";
import { formatCount, nameOf, timeText, wholeTimeText } from "./words.ts";

const shownAtFirst = 50;

export function Decisions({ entries }: { readonly entries: readonly DecisionEntry[] }) {
  const [words, setWords] = useState("");
  const [level, setLevel] = useState<"all" | "warn">("all");
  const [isAll, setAll] = useState(false);
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = entries
    .filter((entry) => level === "all" || entry.level !== "info")
    .filter((entry) => {
      const text = textOf(entry).toLowerCase();
      return wanted.every((word) => text.includes(word));
    })
    .reverse();
  const shown = isAll ? found : found.slice(0, shownAtFirst);
  return (
    <section aria-labelledby="decisions">
      <div class="heading">
        <h2 id="decisions">Decisions</h2>
        <label>
          <span class="unseen">Show only what has these words</span>
          <input
            type="search"
            placeholder="Filter"
            value={words}
            onInput={(event) => setWords(event.currentTarget.value)}
          />
        </label>
        <label>
          <span class="unseen">Which entries</span>
          <select value={level} onChange={(event) => setLevel(event.currentTarget.value === "warn" ? "warn" : "all")}>
            <option value="all">everything</option>
            <option value="warn">warnings and errors</option>
          </select>
        </label>
        <p class="aside" role="status">
          {found.length === entries.length ? "" : `${formatCount(found.length)} of ${formatCount(entries.length)}`}
        </p>
      </div>
      {shown.length === 0 ? (
        <p class="empty">{entries.length === 0 ? "Nothing has been decided yet." : "Nothing has these words."}</p>
      ) : (
        <ol class="log">
          {shown.map((entry, i) => (
            <li key={`${entry.atMs} ${found.length - i}`} class={entry.level}>
              <time title={wholeTimeText(entry.atMs)}>{timeText(entry.atMs)}</time>
              <span class="who" title={entry.process}>
                {nameOf(entry.process)}
              </span>
              <span class="what">
                {entry.level !== "info" && <strong>{entry.level === "warn" ? "warning" : "error"} </strong>}
                {entry.message}
                <Fields entry={entry} />
              </span>
            </li>
          ))}
        </ol>
      )}
      {found.length > shownAtFirst && (
        <button type="button" class="quiet more" onClick={() => setAll(!isAll)}>
          {isAll ? `The newest ${shownAtFirst}` : `All ${formatCount(found.length)}`}
        </button>
      )}
    </section>
  );
}

/** What every line of it has in common. */
const known = ["role", "job", "run", "incarnation"];

function Fields({ entry: { fields, process } }: { readonly entry: DecisionEntry }) {
  const isKnown = (name: string) => known.includes(name) || (name === "worker" && process !== "coordinator");
  const pairs = Object.entries(fields).filter(([name]) => !isKnown(name));
  return (
    <>
      {pairs.map(([name, value]) => (
        <span key={name} class="field">
          <span class="name">{name}</span> {String(value)}
        </span>
      ))}
    </>
  );
}

function textOf({ process, message, fields }: DecisionEntry): string {
  return [process, message, ...Object.entries(fields).flat()].join(" ");
}
