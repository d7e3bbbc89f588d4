/** Who was in which generation, with which rank and shards; and of the chosen one why it was formed. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { isOfStop, type TimelineEntry, wentInOrder } from "../../src/core/timeline.ts";
import { moveFocus } from "./roving.ts";
import { formatCount, formatDuration, nameOf, plural, shardsText, timeText, wholeTimeText } from "./words.ts";

/** So many columns are shown until all are asked for. */
const shownAtFirst = 24;

interface Props {
  readonly timeline: readonly TimelineEntry[];
  /** The run is over: what does not run yet never will. */
  readonly isOver: boolean;
}

export function Membership({ timeline: all, isOver }: Props) {
  const timeline = all.filter((entry) => !isOfStop(entry));
  const columns = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState<number | null>(null);
  const [isAll, setAll] = useState(false);
  const shown = isAll ? timeline : timeline.slice(-shownAtFirst);
  const entry = shown.find(({ generation }) => generation === chosen) ?? shown.at(-1) ?? null;
  // Numbers in names count as numbers: worker-10 comes after worker-9.
  const names = [...new Set(shown.flatMap(({ members }) => members.map(({ workerId }) => nameOf(workerId))))].sort(
    (a, b) => a.localeCompare(b, undefined, { numeric: true }),
  );
  // On a phone a few columns have room, and the newest are those that matter.
  const newest = chosen === null ? entry?.generation : null;
  useLayoutEffect(() => {
    if (newest !== null && columns.current) columns.current.scrollLeft = columns.current.scrollWidth;
  }, [newest]);
  return (
    <section aria-labelledby="membership">
      <div class="heading">
        <h2 id="membership">Membership</h2>
        {timeline.length > shownAtFirst && (
          <button type="button" class="quiet" onClick={() => setAll(!isAll)}>
            {isAll ? `The last ${shownAtFirst}` : `All ${formatCount(timeline.length)} generations`}
          </button>
        )}
      </div>
      {entry === null ? (
        <p class="empty">No membership has been formed yet.</p>
      ) : (
        <>
          <div class="scroll" ref={columns}>
            <table class="membership">
              <caption class="unseen">Workers and the shards that they hold, by generation</caption>
              <thead onKeyDown={moveFocus}>
                <tr>
                  <th scope="col">
                    <span class="unseen">worker</span>
                  </th>
                  {shown.map((one) => (
                    <th key={one.generation} scope="col" class={one === entry ? "chosen" : ""}>
                      <button
                        type="button"
                        tabIndex={one === entry ? 0 : -1}
                        aria-pressed={one === entry}
                        aria-label={`Generation ${one.generation}: ${one.reason}`}
                        onClick={() => setChosen(one.generation)}
                        onFocus={() => setChosen(one.generation)}
                        onMouseEnter={() => setChosen(one.generation)}
                      >
                        {one.generation}
                      </button>
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {names.map((name) => (
                  <tr key={name}>
                    <th scope="row">{name}</th>
                    {shown.map((one, i) => (
                      <Cell
                        key={one.generation}
                        entry={one}
                        before={shown[i - 1] ?? null}
                        name={name}
                        isChosen={one === entry}
                      />
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <Details entry={entry} willRun={!isOver && entry === timeline.at(-1)} />
        </>
      )}
    </section>
  );
}

interface CellProps {
  readonly entry: TimelineEntry;
  readonly before: TimelineEntry | null;
  readonly name: string;
  readonly isChosen: boolean;
}

function Cell({ entry, before, name, isChosen }: CellProps) {
  const rank = entry.members.findIndex(({ workerId }) => nameOf(workerId) === name);
  const member = entry.members[rank];
  const isChosenName = isChosen ? " chosen" : "";
  if (!member) {
    const left = entry.left.find(({ workerId }) => nameOf(workerId) === name);
    return (
      <td class={`out${isChosenName}`}>
        {left && (
          <span class={wentInOrder(left) ? "in-order" : ""} title={left.reason}>
            {wentInOrder(left) ? "→" : "✕"}
          </span>
        )}
        <span class="unseen">{left ? left.reason : "not a member"}</span>
      </td>
    );
  }
  // The same process as before, or a new one with the same name.
  const goesOn = before?.members.some(({ workerId }) => workerId === member.workerId) ?? false;
  const shards = member.shards ? shardsText(member.shards) : null;
  return (
    <td class={`in${goesOn ? " goes-on" : ""}${entry.ranAtMs === null ? " forming" : ""}${isChosenName}`}>
      <span class="bar" title={`rank ${rank}${shards === null ? "" : `, shards ${shards}`}`}>
        {shards ?? "·"}
        <span class="unseen">
          rank {rank}
          {shards === null ? ", forming" : `, shards ${shards}`}
          {goesOn ? "" : ", joined"}
        </span>
      </span>
    </td>
  );
}

/** A state is held by a member, unless it comes from the seed or from a checkpoint. */
function sourceText({ source, step, epoch, members }: TimelineEntry): string {
  if (source === null) return "–";
  if (source === "seed") return "the seed";
  const places = [
    step === null ? "" : `step ${formatCount(step)}`,
    epoch === null ? "" : `epoch ${formatCount(epoch)}`,
  ];
  const isHeld = members.some(({ workerId }) => workerId === source);
  return [...places, `${isHeld ? "held by" : "in the checkpoint"} ${source}`].filter((part) => part !== "").join(", ");
}

function Details({ entry, willRun }: { readonly entry: TimelineEntry; readonly willRun: boolean }) {
  const { generation, reason, formedAtMs, ranAtMs, members, joined, left, paused } = entry;
  return (
    <div class="details" aria-live="polite">
      <h3>
        Generation {formatCount(generation)}
        <span class="aside">{reason}</span>
      </h3>
      <dl class="facts">
        <div>
          <dt>formed</dt>
          <dd title={wholeTimeText(formedAtMs)}>{timeText(formedAtMs)}</dd>
        </div>
        <div>
          <dt>ran</dt>
          <dd>
            {ranAtMs === null
              ? willRun
                ? "not yet"
                : "never"
              : `after ${formatDuration(Math.max(0, ranAtMs - formedAtMs) / 1000)}${paused ? ", paused" : ""}`}
          </dd>
        </div>
        <div>
          <dt>went on from</dt>
          <dd>{sourceText(entry)}</dd>
        </div>
        <div>
          <dt>members</dt>
          <dd>{plural(members.length, "worker")}</dd>
        </div>
      </dl>
      <ul class="moves">
        {left.map(({ workerId, reason: why }) => (
          <li key={workerId}>
            <span class="went">left</span> <code>{workerId}</code> {why}
          </li>
        ))}
        {joined.map((workerId) => (
          <li key={workerId}>
            <span class="came">joined</span> <code>{workerId}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}
