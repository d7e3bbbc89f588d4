// `npm run test:containers`: clusters in containers. It needs Docker; where none answers each test says so and is skipped.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkNode, install, root, run } from "./install.mjs";

checkNode();
await install();
const folder = join(root, "test/containers");
const all = readdirSync(folder).filter((name) => name.endsWith(".container-test.ts"));
const named = process.argv.slice(2);
const files = named.length > 0 ? named : all.sort().map((name) => join(folder, name));
const words = ["--import", "tsx", "--test", "--test-reporter=spec", "--test-concurrency=1", ...files];
process.exitCode = await run(process.execPath, words);
