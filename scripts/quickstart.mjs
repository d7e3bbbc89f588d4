// `npm run quickstart`: from a fresh clone to a trained model, with one command.
import { checkNode, install, root, run } from "./install.mjs";

checkNode();
await install();
console.log("A cluster of three workers learns to write TypeScript declarations (examples/declarations.ts).\n");
// Ctrl-C reaches the cluster, which stops in order; this process only waits for it.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
const args = ["launch", "examples/declarations.ts", "--workers", "3", "--resume", "never", ...process.argv.slice(2)];
process.exitCode = await run(process.execPath, [`${root}bin/lockstep.mjs`, ...args]);
