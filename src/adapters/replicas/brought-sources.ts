/** What a run is rebuilt from where nobody sees all checkpoints: those that workers bring, asked of them, and kept nowhere. */
import { createHash } from "node:crypto";
import { messageOf } from "../../core/errors.ts";
import { CheckpointError, type ManifestFile } from "../../core/manifest.ts";
import type { Member } from "../../core/membership.ts";
import { compareStates } from "../../core/state-order.ts";
import type { CheckpointWords, RunSources, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import { type FileSource, manifestFrom } from "../fs/checkpoint-files.ts";
import { stateName } from "../fs/checkpoint-reader.ts";
import { decodeState } from "../fs/state-json.ts";
import { corruptFile } from "../fs/storage-errors.ts";
import type { CheckpointsConnection } from "../grpc/checkpoints.ts";

export interface BroughtOptions {
  readonly job: string;
  readonly connect: (address: string) => CheckpointsConnection;
  readonly log: Log;
}

/** A checkpoint, and those who have exactly this one. */
interface Found {
  readonly stored: StoredCheckpoint;
  readonly holders: readonly Member[];
}

/** Fails with "process-failed" while one of the members cannot be asked: it may be the one with the newest. */
export function broughtSources(options: BroughtOptions, members: readonly Member[]): RunSources {
  const { job, log } = options;
  const found = new Map<string, Found>();
  return {
    async checkpointsOf(run) {
      const all = await Promise.all(members.map((member) => manifestsOf(member, run, options)));
      found.clear();
      for (const [i, manifests] of all.entries()) {
        for (const stored of manifests) {
          if (stored.manifest.job !== job || stored.manifest.run !== String(run)) continue;
          const { stored: known = stored, holders = [] } = found.get(stored.id) ?? {};
          if (known.manifestSha256 === stored.manifestSha256) {
            found.set(stored.id, { stored: known, holders: [...holders, members[i]!] });
          } else log.warn("two workers have another checkpoint under one id", { id: stored.id });
        }
      }
      return [...found.values()]
        .map(({ stored, holders }) => ({ ...stored, holders: [...new Set(holders.map(({ name }) => name))] }))
        .sort((a, b) => compareStates(a.manifest, b.manifest) || (a.id < b.id ? -1 : 1));
    },
    async load(run, id) {
      const { stored, holders } = found.get(id)!;
      let wrong: CheckpointError | null = null;
      for (const holder of holders) {
        try {
          return await filesFrom(holder, run, options, (source) => read(stored, source(id)));
        } catch (error) {
          if (!(error instanceof CheckpointError) || error.problem !== "corrupt") throw error;
          log.error("the copy of a checkpoint is damaged", { id, worker: holder.name, reason: error.message });
          wrong = error;
        }
      }
      throw wrong;
    },
  };
}

/** What one worker says to have; what it cannot tell is passed over, as in a directory. */
function manifestsOf(member: Member, run: number, options: BroughtOptions): Promise<StoredCheckpoint[]> {
  return filesFrom(member, run, options, async (source) => {
    const stored: StoredCheckpoint[] = [];
    for (const id of member.brings) {
      try {
        const { manifest, sha256 } = await manifestFrom(id, source(id));
        stored.push({ id, location: id, manifestSha256: sha256, manifest });
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        options.log.warn("a checkpoint is passed over", { id, worker: member.name, reason: messageOf(error) });
      }
    }
    return stored;
  });
}

async function filesFrom<T>(
  { store }: Member,
  run: number,
  { job, connect }: BroughtOptions,
  work: (source: (id: string) => FileSource) => Promise<T>,
): Promise<T> {
  const connection = connect(store?.address ?? "");
  try {
    return await work((id) => (file) => connection.fetch({ run: `${job}/${run}`, id, file }));
  } finally {
    connection.close();
  }
}

/** Every file is compared with the manifest; but for the state nothing is kept of it. */
async function read({ manifest }: StoredCheckpoint, source: FileSource): Promise<CheckpointWords> {
  const { files, ...rest } = manifest;
  let state: unknown = null;
  for (const file of files) {
    const parts: Uint8Array[] = [];
    await verify(file, source(file.name), (part) => file.name === stateName && parts.push(part));
    if (file.name === stateName) state = decodeState(Buffer.concat(parts).toString());
  }
  return { manifest: rest, state };
}

async function verify(file: ManifestFile, parts: AsyncIterable<Uint8Array>, onPart: (part: Uint8Array) => void) {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const part of parts) {
    hash.update(part);
    sizeBytes += part.length;
    onPart(part);
  }
  const sha256 = hash.digest("hex");
  if (sha256 === file.sha256 && sizeBytes === file.sizeBytes) return;
  throw corruptFile(file.name, `its SHA-256 is ${sha256}, and ${file.sha256} was written`);
}
