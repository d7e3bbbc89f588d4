/** `lockstep checkpoints verify`: reads checkpoints back and compares every hash; with --replay, trains on and compares. */
import { exitCodes, LockstepError, messageOf } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import { formatBytes } from "../../core/number-format.ts";
import { digestsOf } from "../../runtime/state.ts";
import type { Arguments, Command } from "../command.ts";
import { shared } from "../common.ts";
import {
  type FoundCheckpoints,
  findCheckpoints,
  resolveCheckpoint,
  whichCheckpoints,
  wordsOf,
} from "../find-checkpoints.ts";
import { replayCheckpoint } from "./replay.ts";

export const verify: Command = {
  name: "checkpoints verify",
  summary: "Read checkpoints back and compare every hash; or train on from one, and compare with the run's digests.",
  argument: {
    name: "[JOB.ts] [ID…]",
    help: "the job file, needed for --replay; and which checkpoints: best, latest, ids or parts of one (default: all)",
    most: 1000,
  },
  options: {
    ...whichCheckpoints,
    replay: { value: "N", help: "restore one checkpoint, train N steps here, and compare with the recorded digests" },
    data: shared.data,
    "data-memory": shared.dataMemory,
    engine: { ...shared.engine, help: "native, wasm or cpu (default: the one of the run)" },
    json: { value: null, help: "one JSON line a checkpoint, or a digest" },
  },
  details: `Examples:
  lockstep checkpoints verify --job digits
  lockstep checkpoints verify digits.ts latest --replay 20

What a start found corrupt and set aside is shown with the reason, and read again only if it is named.

Exit code 0 if all is as it was written and recorded, but for what is set aside; 10 if a checkpoint, or with
--replicas any copy of one that is seen from here, is corrupt or missing; 1 if one cannot be read; 11 if training again came to other
weights; 9 if the job or this machine is another one than the checkpoint's, so that nothing can be compared.`,
  run: runVerify,
};

async function runVerify(args: Arguments): Promise<number> {
  const { jobFile, ids: words } = wordsOf(args);
  const steps = args.whole("replay", 1);
  if (steps !== undefined && (words.length !== 1 || jobFile === null)) {
    throw new LockstepError("usage", "--replay needs the job file and one checkpoint.", {
      hint: "As in `lockstep checkpoints verify JOB.ts latest --replay 20`.",
    });
  }
  const found = await findCheckpoints(args, jobFile);
  const named = words.map((word) => resolveCheckpoint(found, word));
  const ids = named.length > 0 ? named : allOf(found);
  const findings: Finding[] = [];
  const damaged: NotWhole[] = [];
  for (const id of ids) {
    // Whoever names one wants to know how it is now.
    const finding = (named.length === 0 && setAsideIn(found, id)) || (await verifyOne(found, id));
    if (finding.verdict === "gone" && named.length === 0) {
      print(args, { event: "verified", ...finding }, `${id}  gone meanwhile: the job does not keep it`);
      continue;
    }
    findings.push(finding);
    print(args, { event: "verified", ...finding }, lineOf(finding));
    if (finding.verdict === "set-aside") continue;
    for (const copy of await damagedCopies(found, id)) {
      damaged.push(copy);
      print(args, { event: "verified", ...copy }, lineOf(copy));
    }
  }
  const bad = findings.filter(({ verdict }) => verdict !== "whole" && verdict !== "set-aside");
  if (ids.length > 1 && !args.flag("json")) process.stdout.write(`\n${summaryOf(findings, bad.length, damaged)}\n`);
  if ([...bad, ...damaged].some(({ verdict }) => verdict !== "unreadable")) return exitCodes["corrupt-checkpoint"];
  if (bad.length + damaged.length > 0) return exitCodes.internal;
  if (steps === undefined) return 0;
  return replayCheckpoint(args, { found, id: ids[0]!, jobFile: jobFile!, steps }, (line, text) =>
    print(args, line, text),
  );
}

interface Whole {
  readonly id: string;
  readonly verdict: "whole";
  readonly sizeBytes: number;
  readonly files: number;
  /** Whether etcd knows this checkpoint's manifest by its hash; null where etcd was not asked, or knows nothing of it. */
  readonly asPublished: boolean | null;
}

interface NotWhole {
  readonly id: string;
  /**
   * "set-aside": a start found it corrupt, and nothing goes on from it; it was not read again. "gone": nobody deletes what is read,
   * but the job had given it up before.
   */
  readonly verdict: "corrupt" | "missing" | "unreadable" | "set-aside" | "gone";
  readonly reason: string;
  /** Of a copy, where each worker has its own: where it lies. */
  readonly copy?: string;
}

type Finding = Whole | NotWhole;

/** Those that are there, and those that should be: what is published and neither condemned nor in storage is missing. */
function allOf({ stored, corrupt, etcd }: FoundCheckpoints): readonly string[] {
  const there = [...stored.map(({ id }) => id), ...corrupt.keys()];
  const live = [...(etcd?.records ?? [])].flatMap(([id, { state }]) => (state === "live" ? [id] : []));
  return [...new Set([...there, ...live])];
}

function setAsideIn({ etcd }: FoundCheckpoints, id: string): NotWhole | null {
  const record = etcd?.records.get(id);
  return record?.state === "set-aside" ? { id, verdict: "set-aside", reason: record.reason ?? "" } : null;
}

/** Of the copies that are there, where each worker has its own, those that are not what was written; a single one was read before. */
async function damagedCopies(found: FoundCheckpoints, id: string): Promise<readonly NotWhole[]> {
  const manifest = publishedAs(found, id) ?? found.stored.find((one) => one.id === id)?.manifestSha256 ?? null;
  const copies = (await found.storage.copies?.(id, manifest)) ?? [];
  if (copies.length < 2) return [];
  return copies.flatMap(({ location, wrong }): NotWhole[] => {
    if (wrong === null) return [];
    return [
      { id, copy: location, verdict: wrong.problem === "corrupt" ? "corrupt" : "unreadable", reason: wrong.message },
    ];
  });
}

function summaryOf(findings: readonly Finding[], bad: number, damaged: readonly NotWhole[]): string {
  const aside = findings.filter(({ verdict }) => verdict === "set-aside").length;
  const rest = aside > 0 ? "all others are whole" : "all are whole";
  const verdict = bad === 0 ? rest : `${bad} ${bad === 1 ? "is" : "are"} not whole`;
  const hint = "`lockstep checkpoints prune --set-aside` deletes what is set aside";
  const copies =
    damaged.length > 0 ? `, and ${damaged.length} cop${damaged.length === 1 ? "y is" : "ies are"} not` : "";
  return `${findings.length} checkpoints: ${aside > 0 ? `${aside} set aside, ` : ""}${verdict}${copies}.${aside > 0 ? ` (${hint})` : ""}`;
}

/** The SHA-256 of the manifest that was published; undefined where nobody knows. */
function publishedAs({ etcd }: FoundCheckpoints, id: string): string | undefined {
  const record = etcd?.records.get(id);
  return record && record.state !== "condemned" ? record.pointer.manifestSha256 : undefined;
}

async function verifyOne(found: FoundCheckpoints, id: string): Promise<Finding> {
  const { load, stored } = found;
  try {
    const content = await load(id);
    const { manifest } = content;
    const digests = digestsOf(content);
    for (const [what, computed, written] of [
      ["weights", digests.weights, manifest.weightsDigest],
      ["state", digests.state, manifest.stateDigest],
    ] as const) {
      if (computed !== written) {
        throw new CheckpointError(
          "corrupt",
          `The ${what} of checkpoint ${id} have the digest ${computed}, and its manifest says ${written}.`,
        );
      }
    }
    const one = stored.find((candidate) => candidate.id === id);
    const published = publishedAs(found, id);
    if (one && published !== undefined && published !== one.manifestSha256) {
      throw new CheckpointError(
        "corrupt",
        `The manifest of checkpoint ${id} has the SHA-256 ${one.manifestSha256}, and ${published} was published.`,
      );
    }
    const files = one?.manifest.files ?? [];
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    return { id, verdict: "whole", sizeBytes, files: files.length, asPublished: published === undefined ? null : true };
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    const problem = error instanceof CheckpointError ? error.problem : "unreadable";
    // Or it was published since etcd was asked, and has been given up already.
    const wasLive = found.etcd?.records.get(id)?.state === "live";
    const isGone = problem === "not-published" || (problem === "missing" && found.etcd?.isLed && !wasLive);
    if (isGone) return { id, verdict: "gone", reason: messageOf(error) };
    const verdict = problem === "corrupt" || problem === "missing" ? problem : "unreadable";
    return { id, verdict, reason: messageOf(error) };
  }
}

function lineOf(finding: Finding): string {
  if (finding.verdict === "set-aside") return `${finding.id}  set aside: ${finding.reason}`;
  if (finding.verdict !== "whole" && finding.copy !== undefined) {
    return `${finding.id}  the copy in ${finding.copy} is ${finding.verdict.toUpperCase()}: ${finding.reason}`;
  }
  if (finding.verdict !== "whole") return `${finding.id}  ${finding.verdict.toUpperCase()}: ${finding.reason}`;
  const { id, sizeBytes, files, asPublished } = finding;
  return `${id}  whole: its manifest and ${files} files, ${formatBytes(sizeBytes)}${asPublished ? ", as published" : ""}`;
}

function print(args: Arguments, line: object, text: string): void {
  process.stdout.write(args.flag("json") ? `${JSON.stringify(line)}\n` : `${text}\n`);
}
