// Where every worker thread of lockstep begins: TypeScript is loaded here as in bin/lockstep.mjs.
import { workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
await import(workerData.module);
