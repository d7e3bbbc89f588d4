/** A file as etcd writes a snapshot: what it holds, and the SHA-256 of that. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

export async function aBackup(folder: string): Promise<string> {
  const data = Buffer.from("what etcd holds");
  const file = join(folder, "backup");
  await writeFile(file, Buffer.concat([data, createHash("sha256").update(data).digest()]));
  return file;
}
