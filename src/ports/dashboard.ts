/** Where the dashboard's view comes from: a coordinator, or the files of a finished job. */
import type { DashboardView, EndpointHealth } from "../core/dashboard-view.ts";

export interface DashboardSource {
  /** "coordination-unavailable": there is nothing to show yet. */
  view(): Promise<DashboardView>;
  /** Null where nothing can be pinned. "usage": that one cannot, and why. */
  readonly setPinned: ((id: string, isPinned: boolean) => Promise<void>) | null;
  /** Null where no files are seen from here. "usage": there is no such checkpoint, or it is too large for this way. */
  readonly download: ((id: string) => Promise<Download>) | null;
}

/** A checkpoint's weights as one file. */
export interface Download {
  readonly name: string;
  readonly sizeBytes: number;
  readonly parts: readonly Uint8Array[];
}

/** Asks each member of etcd how it is; never fails. */
export type EtcdProbe = () => Promise<{
  /** The revision of those that answer; null when none does. */
  readonly revision: number | null;
  readonly endpoints: readonly EndpointHealth[];
}>;
