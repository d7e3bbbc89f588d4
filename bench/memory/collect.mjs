// Loaded into every process of a training: each thread of a worker collects its garbage now and then, so that what is seen of the
// worker's memory is in use.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread } from "node:worker_threads";

const collectEveryMs = 4000;

if (!isMainThread || process.argv[2] === "worker") {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  // An ordinary collection keeps pages for what may come, and more of them the longer it goes on; as where memory runs out, it keeps none.
  const all = { type: "major", execution: "sync", flavor: "last-resort" };
  setInterval(() => collect(all), collectEveryMs).unref();
}
