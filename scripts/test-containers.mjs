// `npm run test:containers`: clusters in containers. It needs Docker; where none answers each test says so and is skipped.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root } from "./install.mjs";
import { runTests } from "./node-tests.mjs";

checkNode();
await install();
const folder = join(root, "test/containers");
const all = readdirSync(folder).filter((name) => name.endsWith(".container-test.ts"));
const named = process.argv.slice(2);
const files = named.length > 0 ? named : all.sort().map((name) => join(folder, name));
const { passed, failed, skipped, isWell } = await runTests(files, 1);
console.log(`containers: ${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = isWell ? 0 : 1;
