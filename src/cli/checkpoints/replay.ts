/** `lockstep checkpoints verify --replay N`: trains on from a checkpoint, in this process, and compares the digests. */
import { dirname, resolve } from "node:path";
import { systemClock } from "../../adapters/system/clock.ts";
import { engineEnvironment } from "../../adapters/tfjs/engine-environment.ts";
import { prepareEngine } from "../../adapters/tfjs/prepare-engine.ts";
import { exitCodes, LockstepError } from "../../core/errors.ts";
import { withChanges } from "../../core/fingerprint.ts";
import { type Recorded, recordedAfter } from "../../core/recorded-digests.ts";
import { settingsIn } from "../../core/settings.ts";
import { plural } from "../../core/summary-table.ts";
import type { CheckpointContent } from "../../ports/checkpoint-storage.ts";
import type { Device, EngineKind } from "../../ports/engine.ts";
import { replay } from "../../runtime/replay.ts";
import { contentToSnapshot } from "../../runtime/state.ts";
import type { Arguments } from "../command.ts";
import { applyEnvironment, dataPlaceOf, devices, engineKinds } from "../common.ts";
import type { FoundCheckpoints } from "../find-checkpoints.ts";
import { fingerprintOf, type OpenedProgram, openProgram } from "../open-program.ts";

type Manifest = CheckpointContent["manifest"];

export interface ReplayRequest {
  readonly found: FoundCheckpoints;
  readonly id: string;
  readonly jobFile: string;
  readonly steps: number;
}

/** Resolves to the exit code. `print` is given each line twice: as an object, and as text. */
export async function replayCheckpoint(
  args: Arguments,
  { found, id, jobFile, steps }: ReplayRequest,
  print: (line: object, text: string) => void,
): Promise<number> {
  const content = await found.load(id);
  const { manifest } = content;
  const recorded = within(steps, manifest, found);
  const opened = await openAsThen(args, jobFile, manifest);
  const shards = Number(manifest.fingerprint.shards);
  const differences = withChanges([], manifest.fingerprint, [fingerprintOf(opened, shards)]);
  const [misfit] = differences.filter((difference) => !difference.startsWith("node."));
  if (misfit !== undefined) {
    throw new LockstepError("incompatible", `The checkpoint ${id} cannot be replayed: ${misfit}.`, {
      hint: "Use the job file, the data and the engine of the run.",
    });
  }
  const { program, job, data } = opened;
  const state = contentToSnapshot(content, program);
  const compared = await replay({ program, job, data, shards, clock: systemClock }, state, recorded);
  for (const { recorded: one, weightsDigest, isSame } of compared) {
    const { step, by } = one;
    const verdict = isSame ? "same" : "DIFFERENT";
    const other = isSame ? "" : `, where ${one.weightsDigest} was recorded`;
    print(
      { event: "replayed", step, by, weightsDigest, recorded: one.weightsDigest, same: isSame },
      `step ${step}: ${verdict} as in ${by}, ${weightsDigest}${other}`,
    );
  }
  const different = compared.filter(({ isSame }) => !isSame);
  if (different.length === 0) {
    print(
      { event: "exact", from: manifest.step, compared: compared.length },
      `Exact: trained again from step ${manifest.step}, ${plural(compared.length, "recorded digest")} came out the same.`,
    );
    return 0;
  }
  // Other machines round differently, and a run that was changed later was not trained so: neither is a fault.
  const reasons = [...differences, ...changedSince(manifest, found)];
  const count = `${different.length} of ${plural(compared.length, "recorded digest")}`;
  print(
    { event: "different", from: manifest.step, compared: compared.length, different: different.length, reasons },
    reasons.length === 0
      ? `NOT exact: ${count} came out differently.`
      : `Nothing is proven: ${count} came out differently, and ${reasons.join("; ")}.`,
  );
  return reasons.length === 0 ? exitCodes.diverged : exitCodes.incompatible;
}

/** What is recorded for the N steps after the checkpoint; to train for nothing is refused. */
function within(steps: number, manifest: Manifest, { etcd, stored }: FoundCheckpoints): readonly Recorded[] {
  const { job, run, step } = manifest;
  const later = stored.map((one) => one.manifest).filter((one) => one.job === job && one.run === run);
  const all = recordedAfter(manifest, etcd?.entries ?? [], later);
  const reached = all.filter((one) => one.step <= step + steps);
  if (reached.length > 0) return reached;
  const [next] = all;
  throw new LockstepError(
    "usage",
    `--replay ${steps} reaches no recorded digest: it trains from step ${step} to ${step + steps}, and ${next ? `the next one is of step ${next.step}` : "none is recorded after that"}.`,
    {
      hint: next
        ? `Give --replay ${next.step - step} or more.`
        : `Take an earlier checkpoint${etcd ? "" : ", or name the job, so that etcd's records can be read"}.`,
    },
  );
}

/** With the engine, the threads and the length of the run; where this machine lacks that engine, an error says so. */
async function openAsThen(args: Arguments, jobFile: string, manifest: Manifest): Promise<OpenedProgram> {
  const { fingerprint } = manifest;
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const engine =
    args.oneOf("engine", engineKinds) ?? known<EngineKind>(engineKinds, fingerprint["engine.kind"]) ?? "auto";
  const device = known<Device>(devices, fingerprint["engine.device"]) ?? "auto";
  const choice = await prepareEngine({ engine, device }, say);
  const threads = Number(fingerprint["engine.threads"] ?? 1);
  applyEnvironment(engineEnvironment(choice, { threads, gpuIndex: choice.device === "gpu" ? 0 : null }));
  const jobPath = resolve(jobFile);
  const epochs = fingerprint["job.epochs"] === undefined ? null : Number(fingerprint["job.epochs"]);
  const data = dataPlaceOf(args, dirname(jobPath));
  return openProgram(
    { jobPath, settings: settingsIn(fingerprint), data, choice, mayFallBack: false, threads, epochs },
    say,
  );
}

function known<T extends string>(values: readonly T[], value: string | undefined): T | undefined {
  return values.find((candidate) => candidate === value);
}

function changedSince(manifest: Manifest, { etcd, stored }: FoundCheckpoints): readonly string[] {
  const later = [...(etcd?.equivalences ?? []), ...stored.flatMap((one) => one.manifest.equivalences)];
  return [...new Set(later)].filter((reason) => !manifest.equivalences.includes(reason));
}
