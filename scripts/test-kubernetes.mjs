// `npm run test:kubernetes`: a cluster in the Kubernetes that KUBECONFIG names, and what operators and accidents do to it. Where none
// is named, each test says so and is skipped. The last line is JSON.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root } from "./install.mjs";
import { runTests } from "./node-tests.mjs";

checkNode();
await install();
const folder = join(root, "test/kubernetes");
const named = process.argv.slice(2);
const all = readdirSync(folder).filter((name) => name.endsWith(".kubernetes-test.ts"));
const files = named.length > 0 ? named : all.sort().map((name) => join(folder, name));
const { passed, failed, skipped, said, isWell } = await runTests(files, 1, 90);
const faults = said.match(/^\{"faults":(\{.*?\})\}$/m)?.[1] ?? "{}";
console.log(JSON.stringify({ run: passed + failed, failed, skipped, faults: JSON.parse(faults) }));
process.exitCode = isWell ? 0 : 1;
