/** The texts of a column, and a number for each. */

/** The code of what is not in a dictionary that is known already. */
const unknownCode = -1;

/**
 * Either the dictionary of another file, which nothing is added to; or one that is collected while a file is read, whose codes are known
 * at the end: they go by the order of all its texts.
 */
export class Dictionary {
  readonly #codes: Map<string, number>;
  readonly #isKnown: boolean;

  constructor(known: readonly string[] | null) {
    this.#isKnown = known !== null;
    this.#codes = new Map(known?.map((text, code) => [text, code]));
  }

  get size(): number {
    return this.#codes.size;
  }

  /** Of a dictionary that is being collected: a number for the time being. */
  codeOf(text: string): number {
    const code = this.#codes.get(text);
    if (code !== undefined) return code;
    if (this.#isKnown) return unknownCode;
    const next = this.#codes.size;
    this.#codes.set(text, next);
    return next;
  }

  /** All texts in the order of their code units, and what each number for the time being has become; null where they were final. */
  finish(): { readonly texts: readonly string[]; readonly final: Uint32Array | null } {
    const collected = [...this.#codes.keys()];
    if (this.#isKnown) return { texts: collected, final: null };
    const order = collected.map((_, i) => i).sort((a, b) => (collected[a]! < collected[b]! ? -1 : 1));
    const final = new Uint32Array(order.length);
    order.forEach((number, code) => {
      final[number] = code;
    });
    return { texts: order.map((number) => collected[number]!), final };
  }
}
