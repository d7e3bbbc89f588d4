import { join } from "node:path";
import { packageRoot } from "../../adapters/system/package-root.ts";

/** Where `npm run build` puts the dashboard's page. */
export const pageFolder = join(packageRoot, "dashboard", "dist");
