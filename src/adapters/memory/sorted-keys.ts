/** Keys in etcd's order, which is that of their bytes. */
import type { Span } from "../../ports/coordination.ts";

export interface SortedKey {
  readonly key: string;
  readonly bytes: Buffer;
}

export function sortedKeys(keys: Iterable<string>): readonly SortedKey[] {
  return [...keys].map((key) => ({ key, bytes: Buffer.from(key) })).sort((a, b) => Buffer.compare(a.bytes, b.bytes));
}

/** Those that begin with `prefix` and are in none of these spans. */
export function keysUnder(sorted: readonly SortedKey[], prefix: string, without: readonly Span[]): string[] {
  const spans = without.map(({ from, before }) => ({ from: Buffer.from(from), before: Buffer.from(before) }));
  const isWithout = (bytes: Buffer) =>
    spans.some(({ from, before }) => Buffer.compare(from, bytes) <= 0 && Buffer.compare(bytes, before) < 0);
  return sorted.filter(({ key, bytes }) => key.startsWith(prefix) && !isWithout(bytes)).map(({ key }) => key);
}
