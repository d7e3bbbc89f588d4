import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";

const keptMs = 30 * 24 * 3600 * 1000;

/** Where nothing can be written, nothing is kept. */
export function keepCompiled(place: string, code: string | ArrayBuffer | NodeJS.TypedArray): void {
  const folder = path.dirname(place);
  const unfinished = `${place}.${randomUUID()}`;
  try {
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(folder)) removeOld(path.join(folder, name));
    writeFileSync(unfinished, typeof code === "string" ? code : new Uint8Array(code as ArrayBuffer));
    renameSync(unfinished, place);
  } catch {
    rmSync(unfinished, { force: true });
  }
}

function removeOld(file: string): void {
  const ageMs = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (ageMs > keptMs) rmSync(file, { force: true });
}
