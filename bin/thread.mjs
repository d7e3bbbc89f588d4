// Where every worker thread of lockstep begins: its module is built, or else TypeScript, and tsx loads that.
import { workerData } from "node:worker_threads";

if (workerData.module.endsWith(".ts")) (await import("tsx/esm/api")).register();
await import(workerData.module);
