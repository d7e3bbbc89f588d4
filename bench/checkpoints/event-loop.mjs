// Loaded into every process of a training; workers write down, every half second, how late their main thread's timers were.
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

const file = process.env.LOCKSTEP_BENCH_EVENT_LOOP;
if (isMainThread && file && process.argv.includes("worker")) {
  const resolution = 5;
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  setInterval(() => {
    const lateMs = Math.max(0, delay.max / 1e6 - resolution);
    delay.reset();
    appendFileSync(file, `${JSON.stringify({ atMs: Date.now(), lateMs })}\n`);
  }, 500).unref();
}
