/**
 * Byte-pair encoding (Gage, 1994; of words, Sennrich et al., 2016): a text as numbers of pieces that are frequent in it. It begins with
 * the 256 bytes; the two neighbours that are most often beside each other become one piece, again and again. No piece reaches over the
 * beginning of a word, so that each distinct word is looked at once, however often it is there.
 */

/** The two pieces that the piece 256 + i consists of. */
export type Merges = readonly (readonly [left: number, right: number])[];

const byteCount = 256;

/** A word with the space before it, a run of other spaces, or of other characters. In bytes: letters beyond ASCII are two and more. */
const isLetter = (byte: number) => byte >= 128 || (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90);
const isDigit = (byte: number) => byte >= 48 && byte <= 57;
const isSpace = (byte: number) => byte === 32 || (byte >= 9 && byte <= 13);
const space = 32;

const kinds = [isLetter, isDigit, isSpace] as const;
const kindOf = (byte: number) => kinds.findIndex((is) => is(byte));

/** Where the word ends that begins here; it is not followed further than to `most`. */
export function wordEnd(bytes: Uint8Array, begin: number, most = bytes.length): number {
  let at = begin;
  // One space belongs to the word after it.
  if (bytes[at] === space && at + 1 < bytes.length && !isSpace(bytes[at + 1]!)) at++;
  const kind = kindOf(bytes[at]!);
  at++;
  while (at < bytes.length && at < most && kindOf(bytes[at]!) === kind) {
    // The last of several spaces is the next word's.
    if (bytes[at] === space && at + 1 < bytes.length && !isSpace(bytes[at + 1]!)) break;
    at++;
  }
  return at;
}

/** The words of a text that comes in parts. One longer than a piece can be is cut. */
export class WordStream {
  #rest: Uint8Array = new Uint8Array(0);

  /** Those that are whole with this part of the text; with its last part all that are left. */
  *take(part: Uint8Array, isLast: boolean): Generator<Uint8Array> {
    const bytes = this.#rest.length === 0 ? part : joined(this.#rest, part);
    let begin = 0;
    while (begin < bytes.length) {
      const end = wordEnd(bytes, begin, begin + longestWord);
      // Whether a word ends is seen at what comes after it; and whether a space begins the next one, at what comes after that.
      if (!isLast && end >= bytes.length - 1) break;
      yield bytes.subarray(begin, end);
      begin = end;
    }
    this.#rest = bytes.slice(begin);
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/** A word as a key, a character for each byte: twice as fast as to spread them over the arguments of one call. */
function keyOf(word: Uint8Array): string {
  let key = "";
  for (const byte of word) key += String.fromCharCode(byte);
  return key;
}

/** A pair as one number, whose order is that of its pieces. */
const pairRange = 2 ** 20;
const pairOf = (left: number, right: number) => left * pairRange + right;

/** How often each word is there: all that is learned from. */
export class WordCounts {
  readonly #words = new Map<string, CountedWord>();

  add(word: Uint8Array): void {
    const key = keyOf(word);
    const known = this.#words.get(key);
    if (known) known.count++;
    else this.#words.set(key, { pieces: [...word], count: 1 });
  }

  /** In the order in which they came first. */
  list(): CountedWord[] {
    return [...this.#words.values()];
  }
}

/**
 * Learns so many pieces that there are `size` at most, the bytes included: fewer, where no pair is there twice. Of pairs that are
 * equally frequent, the one of smaller numbers comes first: a function of the words alone.
 */
export function learnMerges(words: WordCounts, size: number): Merges {
  const learner = new PairCounts(words.list());
  const merges: [number, number][] = [];
  while (byteCount + merges.length < size) {
    const best = learner.best();
    if (best === null) break;
    const pair: [number, number] = [Math.floor(best / pairRange), best % pairRange];
    learner.merge(best, byteCount + merges.length);
    merges.push(pair);
  }
  return merges;
}

interface CountedWord {
  pieces: number[];
  count: number;
}

/** A longer one is cut: no word that occurs twice is as long. */
const longestWord = 256;

/** How often each pair of neighbours is there, and in which words. */
class PairCounts {
  readonly #words: readonly CountedWord[];
  readonly #counts = new Map<number, number>();
  readonly #places = new Map<number, Set<number>>();
  /** Every pair that is there twice, with its count or a greater one that it had before. */
  readonly #queue = new PairQueue();

  constructor(words: readonly CountedWord[]) {
    this.#words = words;
    for (const [index, word] of words.entries()) this.#add(index, word, 1);
    for (const pair of this.#counts.keys()) this.#enqueue(pair);
  }

  best(): number | null {
    for (let first = this.#queue.take(); first !== null; first = this.#queue.take()) {
      if (this.#counts.get(first.pair) === first.count) return first.pair;
      this.#enqueue(first.pair);
    }
    return null;
  }

  merge(pair: number, into: number): void {
    const [left, right] = [Math.floor(pair / pairRange), pair % pairRange];
    const neighbours = new Set<number>();
    for (const index of [...(this.#places.get(pair) ?? [])]) {
      const word = this.#words[index]!;
      this.#add(index, word, -1);
      word.pieces = merged(word.pieces, left, right, into);
      this.#add(index, word, 1);
      for (const [i, piece] of word.pieces.entries()) {
        if (piece !== into) continue;
        if (i > 0) neighbours.add(pairOf(word.pieces[i - 1]!, into));
        if (i + 1 < word.pieces.length) neighbours.add(pairOf(into, word.pieces[i + 1]!));
      }
    }
    this.#counts.delete(pair);
    this.#places.delete(pair);
    // Only pairs with the new piece are more than before.
    for (const neighbour of neighbours) this.#enqueue(neighbour);
  }

  #enqueue(pair: number): void {
    const count = this.#counts.get(pair) ?? 0;
    if (count > 1) this.#queue.add({ pair, count });
  }

  #add(index: number, { pieces, count }: CountedWord, sign: 1 | -1): void {
    for (let i = 0; i + 1 < pieces.length; i++) {
      const pair = pairOf(pieces[i]!, pieces[i + 1]!);
      const now = (this.#counts.get(pair) ?? 0) + sign * count;
      if (now > 0) this.#counts.set(pair, now);
      else this.#counts.delete(pair);
      const places = this.#places.get(pair) ?? new Set();
      if (sign > 0) places.add(index);
      this.#places.set(pair, places);
    }
  }
}

interface CountedPair {
  readonly pair: number;
  readonly count: number;
}

/** The most frequent pair first, of equals the smallest: a binary heap, each of whose entries comes before the two below it. */
class PairQueue {
  readonly #heap: CountedPair[] = [];

  add(entry: CountedPair): void {
    let at = this.#heap.push(entry) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(entry, this.#heap[above]!)) break;
      this.#heap[at] = this.#heap[above]!;
      at = above;
    }
    this.#heap[at] = entry;
  }

  take(): CountedPair | null {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined) return null;
    if (heap.length === 0) return first;
    let at = 0;
    for (let below = 1; below < heap.length; below = 2 * at + 1) {
      if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++;
      if (!isBefore(heap[below]!, last)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: CountedPair, b: CountedPair): boolean {
  return a.count > b.count || (a.count === b.count && a.pair < b.pair);
}

function merged(pieces: readonly number[], left: number, right: number, into: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < pieces.length; i++) {
    const isPair = pieces[i] === left && pieces[i + 1] === right;
    result.push(isPair ? into : pieces[i]!);
    if (isPair) i++;
  }
  return result;
}

/** Encodes texts by the same merges; remembers the words that it has met. */
export class PieceEncoder {
  readonly #merges: Merges;
  readonly #ranks: ReadonlyMap<number, number>;
  readonly #known = new Map<string, Uint16Array>();

  constructor(merges: Merges) {
    this.#merges = merges;
    this.#ranks = new Map(merges.map(([left, right], i) => [pairOf(left, right), byteCount + i]));
  }

  /** Numbers of pieces. */
  encode(bytes: Uint8Array): Uint16Array {
    const result = new Uint16Array(bytes.length); // never more pieces than bytes
    let length = 0;
    for (const word of new WordStream().take(bytes, true)) {
      const pieces = this.encodeWord(word);
      result.set(pieces, length);
      length += pieces.length;
    }
    return result.slice(0, length);
  }

  encodeWord(bytes: Uint8Array): Uint16Array {
    const word = keyOf(bytes);
    const known = this.#known.get(word);
    if (known !== undefined) return known;
    let pieces = [...bytes];
    for (;;) {
      // The pair that was learned first.
      let first = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < pieces.length; i++) {
        first = Math.min(first, this.#ranks.get(pairOf(pieces[i]!, pieces[i + 1]!)) ?? first);
      }
      if (!Number.isFinite(first)) break;
      const [left, right] = this.#merges[first - byteCount]!;
      pieces = merged(pieces, left, right, first);
    }
    const encoded = Uint16Array.from(pieces);
    if (this.#known.size < mostRemembered) this.#known.set(word, encoded);
    return encoded;
  }
}

const mostRemembered = 1_000_000;

/** The bytes of every piece. */
export function pieceBytes(merges: Merges): readonly Uint8Array[] {
  const pieces = Array.from({ length: byteCount }, (_, byte) => Uint8Array.of(byte));
  for (const [left, right] of merges) pieces.push(Uint8Array.of(...pieces[left]!, ...pieces[right]!));
  return pieces;
}

/** The text of every piece; what is no whole character in it is "�". */
export function pieceTexts(merges: Merges): readonly string[] {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return pieceBytes(merges).map((bytes) => decoder.decode(bytes));
}
