/** How etcd is, and who holds a lease. */
import type { DashboardView } from "../../src/core/dashboard-view.ts";
import { formatBytes, formatCount, nameOf } from "./words.ts";

export function Health({ view: { health, status } }: { readonly view: DashboardView }) {
  const { etcd, coordinator } = health;
  const leased = status.processes.filter(({ lease }) => lease !== null);
  return (
    <section aria-labelledby="health">
      <h2 id="health">Health</h2>
      {etcd === null ? (
        <p class="empty">There is no cluster to ask.</p>
      ) : (
        <>
          <p class="quorum">
            <span class={etcd.quorum ? "mark-good" : "mark-bad"}>
              {etcd.quorum ? "etcd has a quorum" : "etcd has no quorum"}
            </span>
            {etcd.revision !== null && <span class="aside">revision {formatCount(etcd.revision)}</span>}
          </p>
          <div class="scroll">
            <table class="cards">
              <caption class="unseen">Members of etcd</caption>
              <thead>
                <tr>
                  <th scope="col">etcd</th>
                  <th scope="col">answers in</th>
                  <th scope="col">data</th>
                  <th scope="col">version</th>
                </tr>
              </thead>
              <tbody>
                {etcd.endpoints.map((one) => (
                  <tr key={one.endpoint}>
                    <th scope="row">
                      {one.endpoint.replace(/^https?:\/\//, "")}
                      {one.isLeader && <span class="badge">leads</span>}
                    </th>
                    {one.latencyMs === null ? (
                      <td colSpan={3} class="mark-bad">
                        {one.problem ?? "does not answer"}
                      </td>
                    ) : (
                      <>
                        <td data-name="answers in">{one.latencyMs.toFixed(1)} ms</td>
                        <td data-name="data">{one.sizeBytes === null ? "–" : formatBytes(one.sizeBytes)}</td>
                        <td data-name="version">{one.version}</td>
                      </>
                    )}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {leased.length > 0 && (
        <div class="scroll">
          <table>
            <caption class="unseen">Leases</caption>
            <thead>
              <tr>
                <th scope="col">lease of</th>
                <th scope="col">is</th>
                <th scope="col">rank</th>
              </tr>
            </thead>
            <tbody>
              {leased.map(({ role, workerId, lease, rank, leader, address }) => (
                <tr key={workerId ?? address ?? role}>
                  <th scope="row" title={workerId ?? address ?? ""}>
                    {workerId === null ? role : nameOf(workerId)}
                    {leader && <span class="badge">leader</span>}
                    {role === "coordinator" && coordinator && !coordinator.active && (
                      <span class="badge">this one stands by</span>
                    )}
                  </th>
                  <td class={lease === "lost" ? "mark-bad" : ""}>
                    {lease}
                    {role === "coordinator" && coordinator?.active && (
                      <span class="aside"> {coordinator.leaseSeconds} s left</span>
                    )}
                  </td>
                  <td>{rank ?? (role === "worker" ? "stands by" : "")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
