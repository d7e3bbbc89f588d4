/** Decodes what is read again and again: an entry's text once, however often the same text comes. */
import { decodeJson } from "../core/json.ts";
import type { Entry } from "../ports/coordination.ts";

export class Decoder {
  readonly #known = new Map<string, { readonly text: string; readonly value: unknown }>();

  /** The caller says what type it must be, as with `decodeJson`; and changes nothing in it. */
  decode<T>({ key, value: text }: Entry): T {
    const known = this.#known.get(key);
    if (known?.text === text) return known.value as T; // decoded from this very text, for the same key
    const value = decodeJson<T>(text);
    this.#known.set(key, { text, value });
    return value;
  }

  /** Forgets what is not there any more. */
  keep(entries: ReadonlyMap<string, Entry>): void {
    for (const key of this.#known.keys()) if (!entries.has(key)) this.#known.delete(key);
  }
}
