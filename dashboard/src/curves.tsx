/** Loss and metrics over epochs: training against validation, the best epoch, and where the membership changed. */
import { useMemo, useState } from "preact/hooks";
import type { DashboardView } from "../../src/core/dashboard-view.ts";
import type { ScaleKind } from "../../src/core/curve-scale.ts";
import type { EpochHistory } from "../../src/core/status.ts";
import type { TimelineEntry } from "../../src/core/timeline.ts";
import { CurveChart, type Mark } from "./curve-chart.tsx";
import type { Theme } from "./theme.ts";
import { formatCount, formatValue, nameOf } from "./words.ts";

const scales: readonly ScaleKind[] = ["auto", "linear", "logarithmic"];

interface Props {
  readonly view: DashboardView;
  readonly theme: Theme;
}

export function Curves({ view: { history, timeline, status }, theme }: Props) {
  const [smoothing, setSmoothing] = useState(0);
  const [scale, setScale] = useState<ScaleKind>("auto");
  const { monitor } = status.policy;
  const epochs = history.items;
  const best = epochs.findLast(({ improved }) => improved) ?? null;
  const names = panelNames(epochs, monitor);
  const marks = useMemo(() => marksOf(timeline, status.stepsPerEpoch), [timeline, status.stepsPerEpoch]);
  const isValidated = epochs.some(({ metrics }) => Object.keys(metrics).some((name) => name.startsWith("val_")));
  return (
    <section aria-labelledby="curves">
      <div class="heading">
        <h2 id="curves">Curves</h2>
        <ul class="legend" aria-hidden="true">
          <li class="training">training</li>
          {isValidated && <li class="validation">validation</li>}
          {best !== null && <li class="best">best epoch</li>}
          {marks.length > 0 && <li class="change">membership changed</li>}
        </ul>
        <label class="scale">
          Scale
          <select
            value={scale}
            onChange={(event) => setScale(scales.find((known) => known === event.currentTarget.value) ?? "auto")}
          >
            {scales.map((known) => (
              <option key={known} value={known}>
                {known}
              </option>
            ))}
          </select>
        </label>
        <label class="smoothing">
          Smoothing
          <input
            type="range"
            min={0}
            max={0.95}
            step={0.05}
            value={smoothing}
            aria-valuetext={smoothing === 0 ? "none" : smoothing.toFixed(2)}
            onInput={(event) => setSmoothing(Number(event.currentTarget.value))}
          />
          <output>{smoothing === 0 ? "none" : smoothing.toFixed(2)}</output>
        </label>
      </div>
      {names.length === 0 ? (
        <p class="empty">No epoch has been completed yet.</p>
      ) : (
        <div class="panels">
          {names.map((name) => (
            <CurveChart
              key={name}
              name={name}
              epochs={epochs}
              best={best}
              isMonitored={monitor === name || monitor === `val_${name}`}
              marks={marks}
              smoothing={smoothing}
              scale={scale}
              theme={theme}
            />
          ))}
        </div>
      )}
      {epochs.length > 0 && <Numbers epochs={epochs} best={best} />}
    </section>
  );
}

/** Loss first, then what is monitored, then the others; "loss" stands for "loss" and "val_loss". */
function panelNames(epochs: readonly EpochHistory[], monitor: string): readonly string[] {
  const all = new Set(epochs.flatMap(({ metrics }) => Object.keys(metrics).map((name) => name.replace(/^val_/, ""))));
  const order = (name: string): number => (name === "loss" ? 0 : name === monitor.replace(/^val_/, "") ? 1 : 2);
  return [...all].sort((a, b) => order(a) - order(b));
}

/** The first membership is where the run begins, and no change. */
function marksOf(timeline: readonly TimelineEntry[], stepsPerEpoch: number): readonly Mark[] {
  if (stepsPerEpoch === 0) return [];
  const ran = timeline.filter(({ ranAtMs }) => ranAtMs !== null);
  const first = timeline[0]?.generation;
  return ran.flatMap((entry): Mark[] => {
    if (entry.step === null || (entry.generation === first && entry.step === 0)) return [];
    const who = entry.left.map(({ workerId, reason }) => `${nameOf(workerId)} ${reason}`);
    const came = entry.joined.map((workerId) => `${nameOf(workerId)} joined`);
    const what = [...who, ...came].join(", ") || entry.reason;
    return [
      {
        epoch: entry.step / stepsPerEpoch,
        text: `Generation ${entry.generation}, from step ${formatCount(entry.step)}: ${what}`,
      },
    ];
  });
}

/** What the charts show, as numbers. */
function Numbers({ epochs, best }: { readonly epochs: readonly EpochHistory[]; readonly best: EpochHistory | null }) {
  const [isOpen, setOpen] = useState(false);
  const names = [...new Set(epochs.flatMap(({ metrics }) => Object.keys(metrics)))];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Numbers of all epochs</summary>
      {isOpen && (
        <div class="scroll">
          <table class="numbers">
            <caption class="unseen">Loss and metrics of each epoch</caption>
            <thead>
              <tr>
                {["epoch", "step", ...names].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
                <th scope="col">is</th>
              </tr>
            </thead>
            <tbody>
              {epochs.toReversed().map((record) => (
                <tr key={record.epoch} class={record === best ? "best" : ""}>
                  <th scope="row">{formatCount(record.epoch)}</th>
                  <td>{formatCount(record.step)}</td>
                  {names.map((name) => (
                    <td key={name}>{formatValue(record.metrics[name])}</td>
                  ))}
                  <td>{record === best ? "best" : record.improved ? "improved" : ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
