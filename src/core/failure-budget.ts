/**
 * One number says how long a silence may last before it counts as a failure; every timeout is derived from it here,
 * and the relations between them are asserted where they are made.
 */
import { assert, LockstepError } from "./errors.ts";

export interface FailureBudget {
  readonly budgetMs: number;
  /** Leases of members, leader and coordinator. */
  readonly leaseTtlMs: number;
  /** How long before etcd lets a lease go its holder stops acting on it. */
  readonly leaseMarginMs: number;
  /** How often state in etcd is read again though no hint came. */
  readonly pollMs: number;
  /** Every single request to etcd. */
  readonly requestTimeoutMs: number;
  /** How long the members of a forming generation have to report. */
  readonly formingMs: number;
  /** How long a peer may take to open its streams once a generation runs. */
  readonly connectMs: number;
}

export const defaultBudgetMs = 5000;
export const smallestBudgetMs = 3000;

export function failureBudget(budgetMs: number = defaultBudgetMs): FailureBudget {
  if (!(budgetMs >= smallestBudgetMs)) {
    throw new LockstepError(
      "usage",
      `The failure budget is ${budgetMs} ms; it must be at least ${smallestBudgetMs} ms.`,
      {
        hint: "Below that, etcd's leases (2 s at least) would expire on healthy workers.",
      },
    );
  }
  const budget: FailureBudget = {
    budgetMs,
    leaseTtlMs: budgetMs,
    leaseMarginMs: budgetMs / 10,
    pollMs: budgetMs / 3,
    requestTimeoutMs: budgetMs / 2,
    formingMs: budgetMs * 2,
    connectMs: budgetMs,
  };
  assert(budget.leaseMarginMs + budget.pollMs < budget.leaseTtlMs, "a lease outlives a missed poll and its margin");
  assert(budget.formingMs > budget.leaseTtlMs, "a dead member's lease expires before the forming deadline");
  return budget;
}
