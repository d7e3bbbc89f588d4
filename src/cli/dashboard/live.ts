/** What a coordinator adds so that its run can be looked at: it remembers what happened lately, and serves the dashboard. */
import { serveDashboard } from "../../adapters/http/dashboard.ts";
import { readPage } from "../../adapters/http/page.ts";
import type { Http } from "../../adapters/http/server.ts";
import { openEtcdProbe } from "../../adapters/etcd/health.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import type { CertificateFolder } from "../../adapters/tls/certificate-folder.ts";
import type { FailureBudget } from "../../core/failure-budget.ts";
import type { Keys } from "../../core/keys.ts";
import type { Generation } from "../../core/membership.ts";
import type { JobRecord } from "../../core/records.ts";
import { WorkerRates } from "../../core/worker-rates.ts";
import type { Coordination } from "../../ports/coordination.ts";
import type { Log } from "../../ports/log.ts";
import type { WorkerProgress } from "../../runtime/cluster-status.ts";
import type { Coordinator } from "../../runtime/coordinator.ts";
import { RecentDecisions } from "../../runtime/recent-decisions.ts";
import { LiveDashboard } from "../../runtime/live-dashboard.ts";
import { withReaderPin } from "../../runtime/pins.ts";
import type { RunArchive } from "../../runtime/rebuild-run.ts";
import { newId } from "../common.ts";
import { downloadOf } from "./download.ts";
import { pageFolder } from "./page-folder.ts";

export interface LiveParts {
  readonly coordinator: Coordinator;
  readonly coordination: Coordination;
  readonly keys: Keys;
  readonly record: JobRecord;
  readonly jobFile: string;
  readonly budget: FailureBudget;
  readonly archive: RunArchive | null;
  readonly endpoints: readonly string[];
  readonly certificates: CertificateFolder | null;
}

export class Onlooking {
  readonly #rates = new WorkerRates();
  readonly #decisions = new RecentDecisions(systemClock);
  readonly #log: Log;
  readonly #closing: (() => void | Promise<void>)[] = [];
  /** As the one that it was made with, and remembered besides. */
  readonly log: Log;

  constructor(log: Log) {
    this.#log = log;
    this.log = this.#decisions.around(log);
  }

  /** @param membership what was read last */
  hear(progress: WorkerProgress, membership: Generation | null): void {
    this.#decisions.hear(progress, membership);
    this.#rates.note(progress, { monotonicMs: systemClock.monotonicMs(), wallMs: systemClock.wallMs() });
  }

  async serve(http: Http, parts: LiveParts): Promise<void> {
    const { coordination, keys, record, budget, archive, endpoints, certificates } = parts;
    const etcd = openEtcdProbe({
      ...{ endpoints, clock: systemClock, log: silent, certificates, requestTimeoutMs: budget.requestTimeoutMs },
    });
    const reader = { coordination, keys, budget, clock: systemClock, log: this.#log };
    const download =
      archive &&
      (async (id: string) => {
        const stored = await archive.checkpointsOf(record.run);
        const load = (one: string) => withReaderPin(reader, one, () => archive.load(record.run, one));
        return downloadOf(id, stored, load);
      });
    const source = new LiveDashboard({
      ...{ ...parts, clock: systemClock, probe: etcd.probe, rates: this.#rates, decisions: this.#decisions, download },
    });
    const page = () => readPage(pageFolder);
    const served = serveDashboard({ http, source, clock: systemClock, page, boot: newId() });
    this.#closing.push(served.close, etcd.close);
  }

  async close(): Promise<void> {
    for (const close of this.#closing) await close();
  }
}

/** That etcd is away is said by the coordinator's own client. */
const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => silent };
