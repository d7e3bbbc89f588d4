// Loaded into every process of a training: each thread of a worker collects its garbage now and then, so that what is seen of the
// worker's memory is in use.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread } from "node:worker_threads";

const collectEveryMs = 4000;

if (!isMainThread || process.argv[2] === "worker") {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  setInterval(() => collect(), collectEveryMs).unref();
}
