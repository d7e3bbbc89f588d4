/**
 * How a job file's imports are found, wherever the file lies, and what they compile to. Node.js calls these hooks: in
 * another thread and asynchronously before 22.15, in this one and synchronously since, so there are two forms of each rule.
 */
import type {
  LoadFnOutput,
  LoadHook,
  LoadHookContext,
  ResolveFnOutput,
  ResolveHook,
  ResolveHookContext,
} from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { keepCompiled } from "./keep-compiled.ts";
import { fileOfImport } from "./relative-import.ts";

const publicSurface = new URL("../../index.ts", import.meta.url).href;
const loader = new URL("./load-job.ts", import.meta.url).href;

/** What these hooks are told, by URL: the compiled code of modules that were loaded before, or where to keep what is loaded now. */
export interface JobModules {
  readonly compiled: ReadonlyMap<string, string>;
  readonly kept: ReadonlyMap<string, string>;
}

const compiled = new Map<string, string>();
const kept = new Map<string, string>();

/** Node.js calls it in the thread of the hooks; may be called again, with more. */
export function initialize(modules: JobModules | undefined): void {
  for (const [url, code] of modules?.compiled ?? []) compiled.set(url, code);
  for (const [url, place] of modules?.kept ?? []) kept.set(url, place);
}

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
  if (file === null) return null;
  const url = pathToFileURL(file).href;
  return file.endsWith(".ts") || compiled.has(url) ? asModule(url) : null;
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

export const load: LoadHook = async (url, context, next) => known(url) ?? keeping(url, await next(url, context));

export function loadSync(url: string, context: LoadHookContext, next: NextLoadSync): LoadFnOutput {
  return known(url) ?? keeping(url, next(url, context));
}

function known(url: string): LoadFnOutput | null {
  const source = compiled.get(url);
  return source === undefined ? null : { format: "module", source, shortCircuit: true };
}

function keeping(url: string, loaded: LoadFnOutput): LoadFnOutput {
  const place = kept.get(url);
  if (place !== undefined && loaded.format === "module" && loaded.source) keepCompiled(place, loaded.source);
  return loaded;
}

export type NextLoadSync = (url: string, context: LoadHookContext) => LoadFnOutput;
