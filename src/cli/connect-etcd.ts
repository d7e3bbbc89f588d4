import { openEtcd } from "../adapters/etcd/etcd-coordination.ts";
import { systemClock } from "../adapters/system/clock.ts";
import type { CertificateFolder } from "../adapters/tls/certificate-folder.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Coordination } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";

/** A client of etcd, with the times that follow from the budget. */
export function connectEtcd(
  endpoints: readonly string[],
  budget: FailureBudget,
  log: Log,
  certificates: CertificateFolder | null,
): Coordination {
  const { requestTimeoutMs, leaseMarginMs } = budget;
  return openEtcd({ endpoints, clock: systemClock, log, requestTimeoutMs, leaseMarginMs, certificates });
}
