/** How fast each worker has been in the last minutes, and how much its steps differ. */
import type { DashboardView } from "../../src/core/dashboard-view.ts";
import type { RatePoint } from "../../src/core/worker-rates.ts";
import { formatCount, nameOf } from "./words.ts";

const [sparkWidth, sparkHeight] = [120, 28];

export function Throughput({ view: { rates, status } }: { readonly view: DashboardView }) {
  const byWorker = new Map<string, RatePoint[]>();
  for (const point of rates.items) byWorker.set(point.workerId, [...(byWorker.get(point.workerId) ?? []), point]);
  const here = status.processes.filter(({ role, rank }) => role === "worker" && rank !== null);
  const order = (workerId: string) => here.find((one) => one.workerId === workerId)?.rank ?? Number.MAX_SAFE_INTEGER;
  // Who is not a member any more is left out: its time is in the membership.
  const rows = [...byWorker]
    .filter(([workerId]) => order(workerId) < Number.MAX_SAFE_INTEGER)
    .sort(([a], [b]) => order(a) - order(b));
  const slowest = Math.max(0, ...rows.flatMap(([, points]) => points.map(({ stepMs }) => stepMs ?? 0)));
  return (
    <section aria-labelledby="throughput">
      <h2 id="throughput">Throughput</h2>
      {rows.length === 0 ? (
        <p class="empty">
          {status.source === "files" ? "Speeds are known only while a job runs." : "Nobody has reported steps yet."}
        </p>
      ) : (
        <div class="scroll">
          <table class="cards">
            <caption class="unseen">Step times of the last five minutes</caption>
            <thead>
              <tr>
                <th scope="col">worker</th>
                <th scope="col">samples/s</th>
                <th scope="col">step, median</th>
                <th scope="col">10–90 %</th>
                <th scope="col">step time</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(([workerId, points]) => (
                <Row key={workerId} workerId={workerId} points={points} slowest={slowest} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Row({
  workerId,
  points,
  slowest,
}: {
  readonly workerId: string;
  readonly points: readonly RatePoint[];
  readonly slowest: number;
}) {
  const times = points.flatMap(({ stepMs }) => (stepMs === null ? [] : [stepMs])).sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(part * times.length))] ?? null;
  return (
    <tr>
      <th scope="row" title={workerId}>
        {nameOf(workerId)}
      </th>
      <td data-name="samples/s">{formatCount(points.at(-1)?.samplesPerSecond ?? 0)}</td>
      <td data-name="step, median">{milliseconds(at(0.5))}</td>
      <td data-name="10–90 %">
        {threeDigits(at(0.1))}–{threeDigits(at(0.9))} ms
      </td>
      <td>
        <svg
          class="spark"
          viewBox={`0 0 ${sparkWidth} ${sparkHeight}`}
          width={sparkWidth}
          height={sparkHeight}
          aria-hidden="true"
        >
          <polyline points={lineOf(points, slowest)} />
        </svg>
      </td>
    </tr>
  );
}

function lineOf(points: readonly RatePoint[], slowest: number): string {
  const known = points.filter(({ stepMs }) => stepMs !== null);
  const [first, last] = [known[0]?.atMs ?? 0, known.at(-1)?.atMs ?? 0];
  return known
    .map(({ atMs, stepMs }) => {
      const x = last > first ? ((atMs - first) / (last - first)) * sparkWidth : sparkWidth;
      const y = sparkHeight - 2 - ((stepMs ?? 0) / (slowest || 1)) * (sparkHeight - 4);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}

function milliseconds(value: number | null): string {
  return value === null ? "–" : `${threeDigits(value)} ms`;
}

function threeDigits(value: number | null): string {
  return value === null ? "–" : String(Number(value.toPrecision(3)));
}
