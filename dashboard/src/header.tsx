import { useEffect } from "preact/hooks";
import { isOver, type StatusSection } from "../../src/core/dashboard-view.ts";
import type { Shown } from "./connection.ts";
import { chooseTheme, type Theme } from "./theme.ts";
import { formatCount, formatDuration, formatValue } from "./words.ts";

interface Props {
  readonly shown: Shown;
  readonly theme: Theme;
  readonly onTheme: () => void;
}

/** What a state is about, for its colour: going on, standing, over, or broken. */
const kinds = {
  ...{ training: "going", forming: "standing", waiting: "standing", paused: "standing", stopping: "standing" },
  ...{ stopped: "over", finished: "done", failed: "broken" },
} as const;

export function Header({ shown, theme, onTheme }: Props) {
  const status = shown.view?.status ?? null;
  const other: Theme = theme === "light" ? "dark" : "light";
  const isGone = shown.connection === "lost" && status !== null && isOver(status.state);
  const title = status ? `${status.job}: ${status.state}` : "lockstep";
  useEffect(() => {
    document.title = title;
  }, [title]);
  return (
    <header>
      <div class="top">
        <p class="brand">lockstep</p>
        <p class={`connection ${isGone ? "gone" : shown.connection}`} role="status">
          {connectionText(shown)}
        </p>
        <button
          type="button"
          class="quiet"
          onClick={() => {
            chooseTheme(other);
            onTheme();
          }}
        >
          {other === "dark" ? "Dark" : "Light"}
        </button>
      </div>
      {status && <Summary status={status} shown={shown} />}
    </header>
  );
}

function Summary({ status, shown }: { readonly status: StatusSection; readonly shown: Shown }) {
  const { job, run, state, reason, epoch, epochs, generation, step, running, source, equivalences } = status;
  const { percent, remainingSeconds: remaining } = status.progress;
  const best = shown.view?.history.items.findLast(({ improved }) => improved) ?? null;
  const { monitor } = status.policy;
  return (
    <>
      <div class="title">
        <h1>{job}</h1>
        <p class={`state ${kinds[state]}`} aria-live="polite" aria-atomic="true">
          <strong>{state}</strong>
          <span class="reason">{reason}</span>
        </p>
      </div>
      {source === "files" ? null : (
        <div class="progress">
          <div
            class="bar"
            role="progressbar"
            aria-label="Steps of all epochs"
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={percent}
          >
            <div style={{ width: `${percent}%` }} />
          </div>
          <p>
            {percent.toFixed(1)} %{remaining !== null && !isOver(state) && <> · {formatDuration(remaining)} left</>}
          </p>
        </div>
      )}
      <dl class="facts">
        <Fact name="epoch">
          {formatCount(epoch)}
          {source === "files" ? "" : ` of ${formatCount(epochs)}`}
          {running && !isOver(state) && running.epoch > epoch && (
            <span class="aside">
              {" "}
              {formatCount(running.stepInEpoch)} steps into {formatCount(running.epoch)}
            </span>
          )}
        </Fact>
        <Fact name="step">{formatCount(step)}</Fact>
        <Fact name={`best ${monitor}`}>
          {best ? (
            <>
              {formatValue(best.metrics[monitor])} <span class="aside">epoch {formatCount(best.epoch)}</span>
            </>
          ) : (
            "–"
          )}
        </Fact>
        {running && !isOver(state) && <Fact name="samples/s">{formatCount(running.samplesPerSecond)}</Fact>}
        <Fact name="generation">{formatCount(generation)}</Fact>
        <Fact name="run">{formatCount(run)}</Fact>
        <Fact name="exactness">{equivalences.length === 0 ? "bit-exact" : "equivalent"}</Fact>
      </dl>
      {equivalences.length > 0 && <p class="note">Only equivalent, because {equivalences.join("; ")}.</p>}
      {shown.trouble !== null && <p class="note trouble">The newest is not known: {shown.trouble}</p>}
    </>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function connectionText({ connection, view }: Shown): string {
  const status = view?.status;
  if (connection === "lost") {
    if (status?.source === "files") return "The command that served this page has ended.";
    if (status && isOver(status.state)) {
      return `The run is over, and so is its coordinator. \`lockstep dashboard ${status.job}\` shows what it has left.`;
    }
    return "Connection lost, trying again. If the coordinator came back elsewhere, `lockstep dashboard` finds it.";
  }
  if (connection === "connecting") return "Connecting …";
  return status?.source === "files" ? "From the job’s files" : "Live";
}
