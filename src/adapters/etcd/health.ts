/** How each member of etcd is. Every one has a connection of its own: the client's own goes to whichever answers. */
import type { EndpointHealth } from "../../core/dashboard-view.ts";
import { messageOf } from "../../core/errors.ts";
import type { EtcdProbe } from "../../ports/dashboard.ts";
import { type ConnectionsOptions, EtcdConnections } from "./connections.ts";
import { toRevision } from "./requests.ts";

/** Connects when it is asked first. Whoever opens it closes it. */
export function openEtcdProbe(options: ConnectionsOptions): { readonly probe: EtcdProbe; close(): void } {
  const { clock } = options;
  const opened = new Map<string, EtcdConnections>();
  const ask = async (endpoint: string): Promise<{ health: EndpointHealth; revision: number | null }> => {
    const connections = opened.get(endpoint) ?? new EtcdConnections({ ...options, endpoints: [endpoint] });
    opened.set(endpoint, connections);
    try {
      const { latencyMs, status } = await connections.call({
        ...{ what: "ask how etcd is", changes: false },
        run: async (client, deadline) => {
          const startMs = clock.monotonicMs();
          const answer = await client.maintenance.status(deadline);
          // Tenths, so that what nobody can tell apart is no change.
          return { status: answer, latencyMs: Math.round((clock.monotonicMs() - startMs) * 10) / 10 };
        },
      });
      const { header, version, dbSize, leader } = status;
      const health = { endpoint, latencyMs, isLeader: leader === header.member_id, version, problem: null };
      return { health: { ...health, sizeBytes: Number(dbSize) }, revision: toRevision(header.revision) };
    } catch (error) {
      const unknown = { latencyMs: null, isLeader: false, version: null, sizeBytes: null };
      return { health: { endpoint, ...unknown, problem: messageOf(error) }, revision: null };
    }
  };
  return {
    probe: async () => {
      const found = await Promise.all(options.endpoints.map(ask));
      const revisions = found.flatMap(({ revision }) => (revision === null ? [] : [revision]));
      return {
        revision: revisions.length > 0 ? Math.max(...revisions) : null,
        endpoints: found.map(({ health }) => health),
      };
    },
    close: () => {
      for (const connections of opened.values()) connections.close();
    },
  };
}
