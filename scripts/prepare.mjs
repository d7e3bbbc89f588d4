// `prepare`: builds the dashboard's page where npm runs such scripts, for instance before the package is packed. An installation
// without dev dependencies cannot, and does not have to: the package brings the page along.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root, run } from "./install.mjs";

if (existsSync(join(root, "node_modules", "vite"))) process.exitCode = await run("npm", ["run", "--silent", "build"]);
else console.log("The dashboard's page was not built: dev dependencies are absent.");
