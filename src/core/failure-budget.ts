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
  /** How often somebody looks whether a step waits for too long. */
  readonly watchMs: number;
  /** How long a member whose key has gone may still be alive: long enough to write it again. */
  readonly absenceMs: number;
  /** The same when etcd was out of reach not long ago: that ends leases, and everyone has to find back to it first. */
  readonly absenceAfterTroubleMs: number;
  /** How long a peer may take to open its streams once a generation runs. */
  readonly connectMs: number;
}

/** A step that takes this many times as long as usual is not slow but stuck. */
export const slowStepFactor = 10;

/** How much later than its time to live etcd lets go of a lease: it looks every half second. */
const expiryDelayMs = 500;

export const defaultBudgetMs = 5000;
export const smallestBudgetMs = 3000;

export function failureBudget(budgetMs: number = defaultBudgetMs): FailureBudget {
  if (!(budgetMs >= smallestBudgetMs)) {
    throw new LockstepError(
      "usage",
      `The failure budget (--failure-budget) is ${budgetMs / 1000} s; at least ${smallestBudgetMs / 1000} s was expected.`,
      {
        hint: "Below that, etcd's leases (2 s at least) would expire on healthy workers.",
      },
    );
  }
  const budget: FailureBudget = {
    budgetMs,
    // etcd counts leases in seconds, from 2 on.
    leaseTtlMs: Math.max(2, Math.round((budgetMs * 0.6) / 1000)) * 1000,
    leaseMarginMs: budgetMs / 10,
    pollMs: budgetMs / 3,
    requestTimeoutMs: budgetMs * 0.4,
    formingMs: budgetMs * 2,
    watchMs: budgetMs / 20,
    absenceMs: budgetMs / 8,
    absenceAfterTroubleMs: budgetMs,
    connectMs: budgetMs,
  };
  assert(budget.leaseMarginMs + budget.pollMs < budget.leaseTtlMs, "a lease outlives a missed poll and its margin");
  assert(
    budget.leaseTtlMs + expiryDelayMs + budget.absenceMs <= budgetMs,
    "who is cut off from etcd is left out within the budget",
  );
  assert(budget.formingMs > budget.leaseTtlMs, "a dead member's lease expires before the forming deadline");
  return budget;
}
