/** Between the port's words and etcd's messages. etcd's 64-bit numbers travel as decimal strings. */
import type { ICompare, IKeyValue, IRangeRequest, IRequestOp, IResponseHeader, ITxnRequest, ITxnResponse } from "etcd3";
import { LockstepError, unreachable } from "../../core/errors.ts";
import type { Condition, Entry, Operation, Span } from "../../ports/coordination.ts";
import type { StoreMoment } from "./rollbacks.ts";

const noLease = "0";

/** The range of all keys that begin with `prefix`; all keys at all for an empty one. */
export function prefixRange(prefix: string): Required<Pick<IRangeRequest, "key" | "range_end">> {
  const zero = Buffer.from([0]);
  if (prefix === "") return { key: zero, range_end: zero };
  const key = Buffer.from(prefix);
  // UTF-8 has no byte 0xff, so the last byte can always be raised by one.
  const rangeEnd = Buffer.from(key);
  rangeEnd[rangeEnd.length - 1]! += 1;
  return { key, range_end: rangeEnd };
}

/** The ranges that a prefix is left with without these spans. */
export function rangesWithout(prefix: string, known: readonly Span[]): IRangeRequest[] {
  const { key, range_end } = prefixRange(prefix);
  const from = [key, ...known.map(({ before }) => Buffer.from(before))];
  const before = [...known.map((span) => Buffer.from(span.from)), range_end];
  return from.map((start, i) => ({ key: start, range_end: before[i]! }));
}

export function toEntry(keyValue: IKeyValue): Entry {
  return {
    key: keyValue.key.toString(),
    value: keyValue.value.toString(),
    createRevision: toRevision(keyValue.create_revision),
    modRevision: toRevision(keyValue.mod_revision),
    leaseId: keyValue.lease === noLease ? null : keyValue.lease,
  };
}

/** Revisions grow by one a write: 2^53 of them are out of reach, but a wrong one must not pass for another. */
export function toRevision(decimal: string): number {
  const revision = Number(decimal);
  if (!/^\d+$/.test(decimal) || !Number.isSafeInteger(revision)) {
    throw new LockstepError("internal", `etcd sent the revision "${decimal}"; expected a whole number below 2^53.`);
  }
  return revision;
}

/** When an answer was given that had to agree with etcd's quorum. */
export function toMoment({ cluster_id, revision }: Pick<IResponseHeader, "cluster_id" | "revision">): StoreMoment {
  return { store: cluster_id, revision: toRevision(revision) };
}

export function toTransaction(conditions: readonly Condition[], then: readonly Operation[]): ITxnRequest {
  return { compare: conditions.map(toCompare), success: then.map(toRequest), failure: [] };
}

/** One transaction that only reads: etcd answers all of it at one revision. */
export function toRanges(ranges: readonly IRangeRequest[]): ITxnRequest {
  return { compare: [], success: ranges.map((range) => ({ request_range: range })), failure: [] };
}

/** What such a transaction has read, range by range. */
export function toEntries({ responses }: ITxnResponse): Entry[] {
  return responses.flatMap(({ response_range }) => response_range?.kvs.map(toEntry) ?? []);
}

function toCompare(condition: Condition): ICompare {
  const key = Buffer.from(condition.key);
  switch (condition.kind) {
    // A key that is not there has the create revision 0.
    case "absent":
      return { key, target: "Create", result: "Equal", create_revision: "0" };
    case "present":
      return { key, target: "Create", result: "Greater", create_revision: "0" };
    case "created-at":
      return { key, target: "Create", result: "Equal", create_revision: String(condition.revision) };
    case "modified-at":
      return { key, target: "Mod", result: "Equal", mod_revision: String(condition.revision) };
    case "equals":
      return { key, target: "Value", result: "Equal", value: Buffer.from(condition.value) };
    default:
      return unreachable(condition);
  }
}

function toRequest(operation: Operation): IRequestOp {
  const key = Buffer.from(operation.key);
  switch (operation.kind) {
    case "put": {
      const lease = operation.lease?.id ?? noLease;
      return { request_put: { key, value: Buffer.from(operation.value), lease } };
    }
    case "delete":
      return { request_delete_range: { key } };
    default:
      return unreachable(operation);
  }
}

/** `transact (put "/a", delete "/b")`, for messages. */
export function describeTransaction(then: readonly Operation[]): string {
  const named = then.slice(0, 3).map(({ kind, key }) => `${kind} ${JSON.stringify(key)}`);
  if (then.length > named.length) named.push(`${then.length - named.length} more`);
  return `transact (${named.join(", ") || "conditions only"})`;
}
