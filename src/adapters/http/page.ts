/** The dashboard's page: the files that `npm run build` makes in dashboard/dist, read once and kept. */
import { readdir, readFile } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";

export interface PageFile {
  readonly type: string;
  readonly bytes: Uint8Array;
  /** Its name changes with what is in it, so a browser may keep it. */
  readonly isImmutable: boolean;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** By path, as "/assets/index-abc.js"; "/" is the page itself. Null: it was not built. */
export async function readPage(folder: string): Promise<ReadonlyMap<string, PageFile> | null> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const page = new Map<string, PageFile>();
  for (const file of files) {
    const path = `/${relative(folder, file).split(sep).join("/")}`;
    const type = types[extname(file)] ?? "application/octet-stream";
    page.set(path, { type, bytes: await readFile(file), isImmutable: path.startsWith("/assets/") });
  }
  const index = page.get("/index.html");
  if (!index) return null;
  return page.set("/", index);
}
