/**
 * How a job file's imports are found, wherever the file lies. Node.js calls these hooks: in another thread and
 * asynchronously before 22.15, in this one and synchronously since, so there are two forms of one rule.
 */
import type { ResolveFnOutput, ResolveHook, ResolveHookContext } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { fileOfImport } from "./relative-import.ts";

const publicSurface = new URL("../../index.ts", import.meta.url).href;
const loader = new URL("./load-job.ts", import.meta.url).href;

/**
 * A job file is an ES module, and so is TypeScript that it imports by relative paths, whatever the nearest package.json
 * says; Node.js would take them for CommonJS in a folder without one. The job file itself is that which only the loader
 * imports by its URL: exactly that file, where tsx would take a "job.js" for what a "job.ts" beside it compiles to.
 */
function ownModule(specifier: string, { parentURL, conditions }: ResolveHookContext): ResolveFnOutput | null {
  if (parentURL === loader && specifier.startsWith("file:")) return asModule(specifier);
  if (!parentURL?.startsWith("file:") || parentURL.includes("/node_modules/") || conditions.includes("require"))
    return null;
  if (!/^\.{1,2}\/[^?#]*$/.test(specifier)) return null;
  const file = fileOfImport(fileURLToPath(new URL(specifier, parentURL)));
  return file?.endsWith(".ts") ? asModule(pathToFileURL(file).href) : null;
}

function asModule(url: string): ResolveFnOutput {
  return { url, format: "module", shortCircuit: true };
}

/** `import … from "lockstep"` means this very package, also where no `node_modules` folder is near. */
function specifierOf(specifier: string): string {
  return specifier === "lockstep" ? publicSurface : specifier;
}

export const resolve: ResolveHook = async (specifier, context, next) =>
  ownModule(specifier, context) ?? next(specifierOf(specifier), context);

export function resolveSync(specifier: string, context: ResolveHookContext, next: NextResolveSync): ResolveFnOutput {
  return ownModule(specifier, context) ?? next(specifierOf(specifier), context);
}

/** The oldest supported Node.js, whose types are used here, has not got the synchronous hooks yet. */
export type NextResolveSync = (specifier: string, context: ResolveHookContext) => ResolveFnOutput;
