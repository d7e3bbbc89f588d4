/**
 * JSON for state: the same value always gives the same text (keys in code-unit order), every number survives to the
 * bit, and NaN and the infinities, which JSON has not, are written as {"$number":"NaN"}. Digests are taken of it.
 */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export function encodeJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "number" && !Number.isFinite(item)) return { $number: String(item) };
    if (Object.is(item, -0)) return { $number: "-0" };
    if (item === null || typeof item !== "object" || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** The value that `encodeJson` wrote. The caller says what type it must be, having written it or validated it. */
export function decodeJson<T>(text: string): T {
  return JSON.parse(text, (_key, item: unknown) => {
    const number = item !== null && typeof item === "object" ? (item as { $number?: unknown }).$number : undefined;
    return typeof number === "string" ? Number(number) : item;
  }) as T;
}
