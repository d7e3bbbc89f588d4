/**
 * How a job file's imports are found, wherever the file lies. Node.js calls these hooks: in another thread and
 * asynchronously before 22.15, in this one and synchronously since, so there are two forms of one rule.
 */
import type { ResolveFnOutput, ResolveHook, ResolveHookContext } from "node:module";

const publicSurface = new URL("../../index.ts", import.meta.url).href;
const loader = new URL("./load-job.ts", import.meta.url).href;

/**
 * The job file itself, which only the loader imports by its URL: exactly that file (a "job.js" beside a "job.ts" would
 * else be taken for what the latter compiles to), and an ES module whatever the nearest package.json says.
 */
function jobFile(specifier: string, context: ResolveHookContext): ResolveFnOutput | null {
  if (context.parentURL !== loader || !specifier.startsWith("file:")) return null;
  return { url: specifier, format: "module", shortCircuit: true };
}

/** `import … from "lockstep"` means this very package, also where no `node_modules` folder is near. */
function specifierOf(specifier: string): string {
  return specifier === "lockstep" ? publicSurface : specifier;
}

/** TypeScript that a job file imports is an ES module too; without a package.json Node.js would take it for CommonJS. */
function asModule(found: ResolveFnOutput, context: ResolveHookContext): ResolveFnOutput {
  if (found.format === "module" || context.conditions.includes("require")) return found;
  const isOwnTypeScript = /^file:.*\.ts$/.test(found.url) && !found.url.includes("/node_modules/");
  return isOwnTypeScript ? { ...found, format: "module" } : found;
}

export const resolve: ResolveHook = async (specifier, context, next) =>
  jobFile(specifier, context) ?? asModule(await next(specifierOf(specifier), context), context);

export function resolveSync(specifier: string, context: ResolveHookContext, next: NextResolveSync): ResolveFnOutput {
  return jobFile(specifier, context) ?? asModule(next(specifierOf(specifier), context), context);
}

/** The oldest supported Node.js, whose types are used here, has not got the synchronous hooks yet. */
export type NextResolveSync = (specifier: string, context: ResolveHookContext) => ResolveFnOutput;
