/** A job's checkpoints of all runs, for a coordinator that has to rebuild what etcd has lost. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isWorkersOwn, workersFoldersIn } from "../adapters/fs/open-for-reading.ts";
import type { CheckpointStorage } from "../ports/checkpoint-storage.ts";
import type { Log } from "../ports/log.ts";
import type { RunArchive } from "../runtime/rebuild-run.ts";
import { openStorage } from "./open-storage.ts";

/** In a location it stands for the run's number, where each run has a folder of its own. */
const runMark = "{run}";

export function openArchive(location: string, job: string, log: Log): RunArchive {
  const opened = new Map<string, Promise<CheckpointStorage>>();
  const storageOf = (run: number): Promise<CheckpointStorage> | null => {
    const at = location.replace(runMark, String(run));
    // Looking must not make a folder.
    if (!at.includes("://") && !existsSync(at)) return null;
    const known = opened.get(at) ?? openStorage(at, log);
    opened.set(at, known);
    return known;
  };
  const manifestsOf = async (run: number) => {
    const stored = await (await storageOf(run))?.list();
    return (stored ?? []).filter(({ manifest }) => manifest.job === job);
  };
  return {
    async newestRun() {
      for (const run of await runsIn(location)) {
        const numbers = (await manifestsOf(run)).map(({ manifest }) => Number(manifest.run));
        if (numbers.length > 0) return Math.max(...numbers);
      }
      return 0;
    },
    async checkpointsOf(run) {
      return (await manifestsOf(run)).filter(({ manifest }) => manifest.run === String(run));
    },
    async load(run, id) {
      return (await storageOf(run)!).load(id);
    },
    async check(run, id) {
      return (await storageOf(run)!).check(id);
    },
    async copiesOf(run, id, manifestSha256) {
      return (await (await storageOf(run))?.copies?.(id, manifestSha256)) ?? [];
    },
    async isReplicated(run) {
      const at = location.replace(runMark, String(run));
      return !at.includes("://") && (isWorkersOwn(at) || (await workersFoldersIn(at)).length > 0);
    },
  };
}

/** The numbers of the runs that have a folder, newest first; where all share one place, any number leads there. */
async function runsIn(location: string): Promise<readonly number[]> {
  if (!location.includes(runMark)) return [0];
  const [before = "", after = ""] = location.split(runMark);
  const names = await readdir(dirname(`${before}x`)).catch(() => []);
  const prefix = basename(`${before}x`).slice(0, -1);
  return names
    .filter((name) => name.startsWith(prefix) && existsSync(join(dirname(`${before}x`), name, after)))
    .map((name) => Number(name.slice(prefix.length)))
    .filter((run) => Number.isSafeInteger(run) && run > 0)
    .sort((a, b) => b - a);
}
