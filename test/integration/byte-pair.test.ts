import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { openJobData } from "../../src/adapters/data/open-job-data.ts";
import { readRows } from "../../src/adapters/data/rows.ts";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import {
  learnMerges,
  type Merges,
  PieceEncoder,
  pieceBytes,
  pieceTexts,
  WordCounts,
  wordEnd,
  WordStream,
} from "../../src/core/byte-pair.ts";
import { knownOf, rawColumns } from "../../src/core/columns.ts";
import { labelDecoder, textEncoder } from "../../src/core/prediction.ts";
import { RandomStream } from "../../src/core/random.ts";
import { bytePair, text } from "../../src/index.ts";

const bytesOf = (words: string) => new TextEncoder().encode(words);

/** Texts of a few syllables, digits, spaces and signs, so that much in them is there twice. */
function someText(seed: number): string {
  const random = new RandomStream(seed, "report");
  const parts = ["ab", "abc", "the", " ", " ", "  ", "\n", "12", "7", ".", ",,", "é", "日本", "aaaa", "\t"];
  return Array.from({ length: 150 }, () => parts[random.nextBelow(parts.length)]!).join("");
}

/** The words of some texts, none of which reaches from one into the next. */
function counted(...texts: readonly string[]): WordCounts {
  const counts = new WordCounts();
  for (const words of texts) for (const word of new WordStream().take(bytesOf(words), true)) counts.add(word);
  return counts;
}

/** As simple as can be: all words, counted anew for every merge. */
function plainMerges(bytes: Uint8Array, size: number): Merges {
  let words: number[][] = [];
  for (let begin = 0; begin < bytes.length; ) {
    const end = wordEnd(bytes, begin);
    words.push([...bytes.subarray(begin, end)]);
    begin = end;
  }
  const merges: [number, number][] = [];
  while (256 + merges.length < size) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const sorted = [...counts].map(
      ([pair, count]) => [...pair.split(" ").map(Number), count] as [number, number, number],
    );
    sorted.sort((a, b) => b[2] - a[2] || a[0] - b[0] || a[1] - b[1]);
    const [best] = sorted;
    if (best === undefined || best[2] < 2) break;
    words = words.map((word) => joined(word, best[0], best[1], 256 + merges.length));
    merges.push([best[0], best[1]]);
  }
  return merges;
}

function joined(word: readonly number[], left: number, right: number, into: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) {
      result.push(into);
      i++;
    } else result.push(word[i]!);
  }
  return result;
}

test("the pairs that are learned are those of a plain count, the most frequent first, of equals the smaller", () => {
  assert.deepEqual(learnMerges(counted("low low lower"), 259), [
    [108, 111],
    [256, 119],
    [32, 257],
  ]);
  assert.deepEqual(learnMerges(counted("abc"), 300), [], "nothing is there twice");
  for (let seed = 0; seed < 40; seed++) {
    const words = someText(seed);
    assert.deepEqual(learnMerges(counted(words), 256 + 30), plainMerges(bytesOf(words), 256 + 30), `seed ${seed}`);
  }
});

test("a text is the bytes of its pieces, and its pieces are what every merge in turn makes of it", () => {
  const merges = learnMerges(counted(someText(1), someText(2)), 256 + 60);
  const encoder = new PieceEncoder(merges);
  const pieces = pieceBytes(merges);
  for (let seed = 0; seed < 40; seed++) {
    const words = someText(seed + 100);
    const bytes = bytesOf(words);
    const encoded = [...encoder.encode(bytes)];
    assert.equal(Buffer.concat(encoded.map((piece) => pieces[piece]!)).toString(), words);
    const plain: number[] = [];
    for (let begin = 0; begin < bytes.length; ) {
      const end = wordEnd(bytes, begin);
      let word = [...bytes.subarray(begin, end)];
      merges.forEach(([left, right], i) => {
        word = joined(word, left, right, 256 + i);
      });
      plain.push(...word);
      begin = end;
    }
    assert.deepEqual(encoded, plain, `seed ${seed}`);
    assert.ok(encoded.length < bytes.length);
  }
  assert.deepEqual([...encoder.encode(bytesOf("\u0000zq"))], [0, 122, 113]);
  assert.equal(pieceTexts([[0xc3, 0xa9]])[256], "é");
  assert.equal(pieceTexts([])[0xc3], "�");
});

test("a text that comes in parts has the words that it has as a whole, wherever it is parted", () => {
  const wordsOf = (parts: readonly Uint8Array[]) => {
    const stream = new WordStream();
    const words = [...parts, new Uint8Array(0)].flatMap((part, i) => [...stream.take(part, i === parts.length)]);
    return words.map((word) => Buffer.from(word).toString("latin1"));
  };
  for (let seed = 0; seed < 40; seed++) {
    const random = new RandomStream(seed, "report");
    const bytes = bytesOf(`${someText(seed)}${"x".repeat(random.nextBelow(600))}   ${someText(seed + 1)}`);
    const whole = wordsOf([bytes]);
    assert.equal(whole.join(""), Buffer.from(bytes).toString("latin1"));
    assert.ok(whole.every((word) => word.length <= 256));
    const parts: Uint8Array[] = [];
    for (let begin = 0; begin < bytes.length; ) {
      const end = begin + 1 + random.nextBelow(seed % 2 === 0 ? 4 : 400);
      parts.push(bytes.subarray(begin, end));
      begin = end;
    }
    assert.deepEqual(wordsOf(parts), whole, `seed ${seed}`);
  }
});

test("text in pieces: windows of them, learned before the end that validates, the same for other texts and for predictions", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-pieces-"));
  try {
    await writeFile(path.join(folder, "a.txt"), `${"low lower ".repeat(20)}${"zz".repeat(40)}`);
    const source = text("a.txt", { window: 3, stride: 1, tokens: bytePair({ size: 260 }) });
    const data = await openJobData(
      { data: source, validation: { fraction: 0.25, take: "last" } },
      { directory: folder },
    );
    const [column] = data.columns.features;
    assert.equal(column!.type, "piece");
    assert.ok(!column!.texts!.includes("zz"), "what validates is not learned from");
    assert.ok(column!.texts!.includes(" low"));
    const whole = await openJobData({ data: source, validation: null }, { directory: folder });
    assert.ok(whole.columns.features[0]!.texts!.includes("zz"));
    assert.notEqual(whole.digest, data.digest);
    const { features, label } = data.read([1]);
    const texts = column!.texts!;
    const shown = [...features, ...label].map((piece) => texts[piece]).join("");
    assert.ok("low lower low lower".includes(shown), shown);

    const raw = rawColumns(data.columns.features, data.columns.label);
    const stored: typeof raw = JSON.parse(JSON.stringify(raw));
    await writeFile(path.join(folder, "b.txt"), "slow lower, zzzz");
    const other = await openDataset({ ...source, paths: ["b.txt"] }, folder, knownOf(stored));
    assert.deepEqual(other.columns.features[0]!.merges, column!.merges);
    const encode = textEncoder(stored);
    assert.equal(
      encode("lower é")
        .map((piece) => Buffer.from(pieceBytes(column!.merges!)[piece]!).toString("latin1"))
        .join(""),
      Buffer.from("lower é").toString("latin1"),
    );
    await writeFile(path.join(folder, "new.jsonl"), `${JSON.stringify("so low lower low")}\n`);
    const expected = { source, width: 3, names: null, known: knownOf(stored) };
    const { value } = await readRows(path.join(folder, "new.jsonl"), expected, 2, () => assert.fail()).next();
    assert.deepEqual([...value!.values], encode("so low lower low").slice(-3));
    const identity = { field: "preprocess.label", shape: [], steps: [] };
    const decode = labelDecoder({ features: identity, label: identity, columns: stored! });
    assert.equal(decode<string>(texts.indexOf(" low")), " low");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
