/** The dashboard's view of a run that is under way, as its coordinator sees it. Asked only while somebody looks. */
import type { CheckpointRow, CheckpointsSection, DashboardView, EtcdHealth } from "../core/dashboard-view.ts";
import { LockstepError } from "../core/errors.ts";
import type { Keys } from "../core/keys.ts";
import { CheckpointError } from "../core/manifest.ts";
import type { JobRecord } from "../core/records.ts";
import type { ClusterStatus } from "../core/status.ts";
import type { TimelineEntry } from "../core/timeline.ts";
import type { WorkerRates } from "../core/worker-rates.ts";
import type { Clock } from "../ports/clock.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { DashboardSource, EtcdProbe } from "../ports/dashboard.ts";
import type { Coordinator } from "./coordinator.ts";
import type { RecentDecisions } from "./recent-decisions.ts";
import { pin, unpin } from "./pins.ts";
import type { RunArchive } from "./rebuild-run.ts";
import type { RunReading } from "./run-reading.ts";
import { SeenCheckpoints } from "./seen-checkpoints.ts";
import { readTimeline } from "./timeline.ts";

export interface LiveDashboardOptions {
  readonly coordinator: Coordinator;
  readonly coordination: Coordination;
  readonly keys: Keys;
  /** As the coordinator was started. */
  readonly record: JobRecord;
  readonly jobFile: string;
  /** Null: this process sees no checkpoints. */
  readonly archive: RunArchive | null;
  readonly probe: EtcdProbe;
  readonly rates: WorkerRates;
  readonly decisions: RecentDecisions;
  readonly clock: Clock;
  readonly download: DashboardSource["download"];
}

/** The name under which the page pins. */
const pinName = "dashboard";
const readerPrefix = "reader-";
const askEtcdEveryMs = 5000;

export class LiveDashboard implements DashboardSource {
  readonly download: DashboardSource["download"];
  readonly #options: LiveDashboardOptions;
  #timeline: { readonly of: string; readonly entries: readonly TimelineEntry[] } = { of: "", entries: [] };
  /** Null: this process sees no checkpoints. */
  readonly #seen: SeenCheckpoints | null;
  #etcd: { readonly health: Promise<EtcdHealth>; readonly atMs: number } | null = null;

  constructor(options: LiveDashboardOptions) {
    this.#options = options;
    this.download = options.download;
    const { archive, record, clock } = options;
    this.#seen = archive && new SeenCheckpoints(() => archive.checkpointsOf(record.run), clock);
  }

  async view(): Promise<DashboardView> {
    const { coordinator, record, rates, decisions } = this.#options;
    const { history, ...status } = coordinator.status();
    const { reading } = coordinator;
    const { isActive, leaseRemainingMs } = coordinator.vitals();
    const { run, shards } = coordinator.record;
    const [timeline, checkpoints, etcd] = await Promise.all([
      this.#timelineOf(reading),
      this.#checkpoints(reading, { history, ...status }, status.policy.monitor),
      this.#etcdHealth(),
    ]);
    const address = status.processes.find(({ role }) => role === "coordinator")?.address ?? record.job;
    return {
      status: { ...status, run, shards, source: "live" },
      history: { first: 0, items: history },
      timeline,
      checkpoints,
      rates: rates.ring,
      health: {
        etcd,
        coordinator: { address, active: isActive, leaseSeconds: Math.round((leaseRemainingMs ?? 0) / 1000) },
      },
      decisions: decisions.rows,
    };
  }

  readonly setPinned = async (id: string, isPinned: boolean): Promise<void> => {
    const parts = { coordination: this.#options.coordination, keys: this.#options.keys };
    if (isPinned) {
      await pin(parts, id, pinName, { note: "pinned in the dashboard" }).catch((error: unknown) => {
        if (!(error instanceof CheckpointError)) throw error;
        throw new LockstepError("usage", error.message, error.hint === undefined ? {} : { hint: error.hint });
      });
      return;
    }
    const pins = this.#pinsOf(this.#options.coordinator.reading, id);
    const name = pins.includes(pinName) ? pinName : pins[0];
    if (name === undefined) throw new LockstepError("usage", `The checkpoint ${id} is not pinned.`);
    if (name !== pinName && pins.length > 1) {
      throw new LockstepError("usage", `The checkpoint ${id} has ${pins.length} pins: ${pins.join(", ")}.`, {
        hint: `Say which one: \`lockstep checkpoints unpin ${id} --name ${name}\`.`,
      });
    }
    await unpin(parts, id, name);
  };

  /** Read again when the membership has changed: it is written with each change, and at no other time. */
  async #timelineOf({ generation }: RunReading): Promise<readonly TimelineEntry[]> {
    const of = `${generation?.generation} ${generation?.kind}`;
    if (this.#timeline.of !== of) {
      const { coordination, keys } = this.#options;
      const entries = await readTimeline(coordination, keys).catch(() => null);
      // etcd that is away is no reason to show nothing: it is asked again at the next look.
      if (entries) this.#timeline = { of, entries };
    }
    return this.#timeline.entries;
  }

  async #checkpoints(
    reading: RunReading,
    { best, latest }: ClusterStatus,
    monitor: string,
  ): Promise<CheckpointsSection> {
    const { record, jobFile, download } = this.#options;
    await this.#seen?.look(reading.checkpoints.map(({ pointer }) => pointer.id));
    const rows = reading.checkpoints.map(({ pointer, state, writtenAtMs, reason }): CheckpointRow => {
      const { id, lineage, epoch, stepInEpoch, step, value } = pointer;
      const isMissing = !pointer.holders && (this.#seen?.isMissing(id) ?? false);
      return {
        ...{ id, lineage, epoch, stepInEpoch, step, value, writtenAtMs },
        sizeBytes: this.#seen?.sizeOf(id) ?? null,
        isBest: best?.id === id,
        isLatest: latest?.id === id,
        pins: this.#pinsOf(reading, id),
        verification: state === "set-aside" ? "set aside" : isMissing ? "missing" : "verified",
        problem: state === "set-aside" ? (reason ?? null) : isMissing ? "it is not where it was published" : null,
      };
    });
    const words = ["--job", record.job];
    return { monitor, rows, canPin: true, canDownload: download !== null, jobFile, words };
  }

  #pinsOf({ entries }: RunReading, id: string): readonly string[] {
    const prefix = this.#options.keys.pin(id, "");
    const names = [...entries.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
    return names.filter((name) => !name.startsWith(readerPrefix));
  }

  /** Asked seldom: etcd and this process have other work, on the machine that trains. */
  #etcdHealth(): Promise<EtcdHealth> {
    const nowMs = this.#options.clock.monotonicMs();
    if (!this.#etcd || nowMs - this.#etcd.atMs >= askEtcdEveryMs) {
      this.#etcd = { health: this.#askEtcd(), atMs: nowMs };
    }
    return this.#etcd.health;
  }

  async #askEtcd(): Promise<EtcdHealth> {
    const { coordination, keys, probe } = this.#options;
    const [quorum, { revision, endpoints }] = await Promise.all([
      coordination.get(keys.record).then(
        () => true,
        () => false,
      ),
      probe(),
    ]);
    return { quorum, revision, endpoints };
  }
}
