import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { packageRoot, packageVersion } from "./package-root.ts";

/**
 * What a package.json in `folder` has to name so that npm installs there what runs here: the same version, where it came from a
 * registry; else the same packed file, or the same checkout, by its path.
 */
export function dependencyOnThis(folder: string): string {
  const modules = dirname(packageRoot);
  if (basename(modules) !== "node_modules") return asPath(folder, packageRoot);
  const from = resolvedBy(modules);
  if (from === null || /^https?:/.test(from)) return packageVersion();
  const packed = resolve(dirname(modules), from.replace(/^file:/, ""));
  return asPath(folder, existsSync(packed) ? packed : packageRoot);
}

/** What npm says that it has installed this package from; null where something else has installed it. */
function resolvedBy(modules: string): string | null {
  try {
    const text = readFileSync(join(modules, ".package-lock.json"), "utf8");
    const { packages } = JSON.parse(text) as { packages?: Record<string, { resolved?: string } | undefined> };
    return packages?.[`node_modules/${basename(packageRoot)}`]?.resolved ?? null;
  } catch {
    return null;
  }
}

function asPath(folder: string, target: string): string {
  return `file:${relative(folder, target) || "."}`;
}
