import assert from "node:assert/strict";
import { test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import { defaultBudgetMs, failureBudget, smallestBudgetMs } from "../../src/core/failure-budget.ts";

/** etcd grants no shorter lease. */
const etcdSmallestTtlMs = 2000;

test("every timeout is positive and finite, and grows with the one number it is derived from", () => {
  const small = Object.entries(failureBudget(smallestBudgetMs));
  const large: Readonly<Record<string, number>> = { ...failureBudget(60_000) };
  for (const [name, value] of small) {
    assert.ok(value > 0 && Number.isFinite(value), name);
    assert.ok(large[name]! > value, name);
  }
});

test("at every budget the timeouts are in the order that the protocol relies on", () => {
  for (const budgetMs of [smallestBudgetMs, defaultBudgetMs, 17_001, 600_000]) {
    const budget = failureBudget(budgetMs);
    assert.equal(budget.budgetMs, budgetMs);
    assert.ok(budget.leaseTtlMs >= etcdSmallestTtlMs);
    assert.ok(budget.leaseMarginMs + budget.pollMs < budget.leaseTtlMs, "one missed poll does not cost a lease");
    assert.ok(budget.requestTimeoutMs + budget.leaseMarginMs < budget.leaseTtlMs, "nor does one lost request");
    assert.ok(budget.leaseTtlMs < budget.formingMs, "the dead are gone before the forming deadline blames the living");
    assert.ok(budget.connectMs < budget.formingMs);
    // etcd lets go of a lease half a second late, when tried.
    assert.ok(budget.leaseTtlMs + 500 + budget.absenceMs <= budgetMs, "cut off from etcd one is out within the budget");
  }
});

test("a budget below what leases allow, or none at all, is refused with the value and the bound", () => {
  for (const wrong of [smallestBudgetMs - 1, 0, -5000, Number.NaN]) {
    assert.throws(
      () => failureBudget(wrong),
      (error) =>
        error instanceof LockstepError &&
        error.code === "usage" &&
        error.message.includes(`${wrong / 1000} s`) &&
        error.message.includes("at least 3 s"),
    );
  }
});
