import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openDataset } from "../../src/adapters/data/open-dataset.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { csv, type DataSource, text } from "../../src/index.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "lockstep-data-"));
});
after(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function fileWith(content: string | Uint8Array, name = `${++files}.csv`): Promise<string> {
  await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
  await writeFile(path.join(folder, name), content);
  return name;
}

async function opened(content: string | Uint8Array, label = "y") {
  return openDataset(csv(await fileWith(content), { label }), folder);
}

async function errorOf(source: DataSource): Promise<LockstepError> {
  try {
    await openDataset(source, folder);
  } catch (error) {
    assert(error instanceof LockstepError);
    assert.equal(error.code, "invalid-data");
    return error;
  }
  return assert.fail("the data was accepted");
}

const all = (length: number) => Array.from({ length }, (_, index) => index);

describe("a CSV file", () => {
  it("gives all columns but the label as features, in file order", async () => {
    const data = await opened("a,y,b\n1,10,2\n3,30,4\n");
    assert.equal(data.length, 2);
    assert.deepEqual(data.features, { shape: [2] });
    assert.deepEqual(data.label, { shape: [] });
    assert.deepEqual(data.read([0, 1]), {
      count: 2,
      features: Float32Array.of(1, 2, 3, 4),
      label: Float32Array.of(10, 30),
    });
  });

  it("gives samples in the order that is asked for, also twice", async () => {
    const data = await opened("a,y\n1,10\n2,20\n3,30\n");
    assert.deepEqual(data.read(Uint32Array.of(2, 0, 2)).features, Float32Array.of(3, 1, 3));
    assert.deepEqual(data.read([]), { count: 0, features: new Float32Array(0), label: new Float32Array(0) });
  });

  it("may have semicolons or tabs between its cells, and is then other data", async () => {
    const commas = await opened('a,y,"b"\n1,10,2.5\n"3", "30" ,4\n');
    for (const separator of [";", "\t"] as const) {
      const name = await fileWith(`a,y,"b"\n1,10,2.5\n"3", "30" ,4\n`.replaceAll(",", separator));
      const data = await openDataset(csv(name, { label: "y", separator }), folder);
      assert.deepEqual(data.read([0, 1]), commas.read([0, 1]));
      assert.notEqual(data.digest, commas.digest);
      const short = await fileWith(`a,y\n1,2\n3,4\n`.replaceAll(",", separator));
      const numbers = await openDataset(csv(short, { label: "y", separator }), folder);
      assert.deepEqual([...numbers.read([1, 0]).label], [4, 2]);
    }
    const missing = await fileWith("a\ty\n1\t\n2\t3\n");
    const { message } = await errorOf(csv(missing, { label: "y", separator: "\t" }));
    assert.match(message, /line 2, column "y" is empty; expected a number/);
  });

  it("hands out copies", async () => {
    const data = await opened("a,y\n1,10\n");
    data.read([0]).features.fill(99);
    assert.deepEqual(data.read([0]).features, Float32Array.of(1));
  });

  for (const [what, content] of Object.entries({
    "line ends of Windows": "a,y\r\n1.5,10\r\n-2,20\r\n",
    "no line end at the end": "a,y\n1.5,10\n-2,20",
    "blank lines at the end": "a,y\n1.5,10\n-2,20\n\n  \n",
    "a byte-order mark": "\uFEFFa,y\n1.5,10\n-2,20\n",
    quotes: '"a","y"\n"1.5",10\n-2,"20"\n',
    spaces: "a,y\n 1.5, 10\n-2 ,20 \n",
    exponents: "a,y\n15e-1,1E1\n-.2e1,+20.\n",
  })) {
    it(`may have ${what}`, async () => {
      const { features, label } = (await opened(content)).read([0, 1]);
      assert.deepEqual([...features, ...label], [1.5, -2, 10, 20]);
    });
  }

  it("may have short whole numbers in one row, and long ones, fractions or signs in the next", async () => {
    const data = await opened("a,y,b\n0,9999999,007\n16777217,1,2\n1,0.5,3\n4,5,-6\r\n255,10,12345678\n");
    const { features, label } = data.read(all(5));
    assert.deepEqual([...features], [0, 7, 16777216, 2, 1, 3, 4, -6, 255, 12345678]);
    assert.deepEqual([...label], [9999999, 1, 0.5, 5, 10]);
  });

  it("may have commas and quotes in a quoted header", async () => {
    const data = await opened('"size, in ""mm""",y\n1,2\n', 'size, in "mm"');
    assert.deepEqual(data.read([0]).label, Float32Array.of(1));
  });

  const cases: readonly [what: string, content: string, message: RegExp, hint?: RegExp][] = [
    ["nothing in it", "", /csv is empty; expected a header row/],
    ["only blank lines", "\n\r\n", /csv is empty/],
    ["no rows of data", "a,y\n", /csv has a header row, but no rows of data/],
    [
      "no such label",
      "a,yes\n1,2\n",
      /csv has no column "y", .* its columns are "a" and "yes"/,
      /Name one of the columns/,
    ],
    ["a misspelled label", "a,Y\n1,2\n", /no column "y"/, /Did you mean "Y"\?/],
    ["no header row", "1,2,3\n4,5,6\n", /its columns are "1", "2" and "3"/, /first line looks like data/],
    [
      "semicolons",
      "a;y\n1;2\n",
      /its columns are "a;y"/,
      /separated by ";"; say so: csv\(path, \{ label, separator: ";" \}\)/,
    ],
    ["two label columns", "y,a,y\n1,2,3\n", /more than one column "y"/],
    ["no features", "y\n1\n", /no other column than the label "y"/],
    ["a short row", "a,b,y\n1,2,3\n4,5\n", /csv, line 3 has 2 cells; expected 3, as in the header/],
    ["a long row", "a,y\n1,2\n3,4\n5,6,7\n", /csv, line 4 has 3 cells; expected 2/],
    ["a blank line inside", "a,y\n1,2\n\n3,4\n", /csv, line 3 is blank; expected 2 cells/],
    [
      "a text",
      "a,y\n1,2\nx,4\n",
      /csv, line 3, column "a" is "x"; expected a finite number/,
      /columns: \{ "a": "category" \}.*ignore: \["a"\]/,
    ],
    ["an empty cell", "a,y\r\n1,2\r\n3,\r\n", /csv, line 3, column "y" is empty; expected a number/, /without a label/],
    [
      "an empty feature",
      "a,y\r\n1,2\r\n,3\r\n",
      /csv, line 3, column "a" is empty; expected a number/,
      /missing values/,
    ],
    [
      "a byte-order mark in a later row",
      "\uFEFFa,y\n1,2\n\uFEFF3,4\n",
      /csv, line 3, column "a" has a byte-order mark; expected a number/,
      /take it out where files were joined/,
    ],
    ["a second byte-order mark", "\uFEFF\uFEFFy,a\n1,2\n", /no column "y"/],
    ["a byte-order mark after its rows", "a,y\n1,2\n\uFEFF\n", /csv, line 3 has 1 cell; expected 2/],
    ["a byte-order mark before a quote", 'a,y\n\uFEFF"1",2\n', /line 2 has a quote that does not enclose a whole cell/],
    ["nothing but a byte-order mark", "\uFEFF", /csv is empty/],
    ["NaN", "a,y\nNaN,2\n", /line 2, column "a" is "NaN"; expected a finite number/],
    ["Infinity", "a,y\n1,Infinity\n", /line 2, column "y" is "Infinity"/],
    ["a hexadecimal number", "a,y\n0x10,2\n", /line 2, column "a" is "0x10"/],
    ["a number too large for 32 bits", "a,y\n1e39,2\n", /line 2, column "a" is "1e39"; expected a finite number/],
    ["a quote that does not end", 'a,y\n"1,2\n', /line 2 has a quote that does not enclose a whole cell: "1,2/],
    ["a quote inside a cell", 'a,y\n1"2,3\n', /line 2 has a quote that does not enclose a whole cell: 1"2,3/],
  ];
  for (const [what, content, message, hint] of cases) {
    it(`with ${what} is refused`, async () => {
      const error = await errorOf(csv(await fileWith(content), { label: "y" }));
      assert.match(error.message, message);
      if (hint) assert.match(error.hint ?? "", hint);
    });
  }

  it("in UTF-16 is refused", async () => {
    const content = Buffer.concat([Buffer.of(0xff, 0xfe), Buffer.from("a,y\n1,2\n", "utf16le")]);
    assert.match(
      (await errorOf(csv(await fileWith(content), { label: "y" }))).message,
      /is UTF-16 text; expected UTF-8/,
    );
  });

  it("that is not there, or is a folder, is refused with the whole path", async () => {
    const missing = await errorOf(csv("nothing/here.csv", { label: "y" }));
    assert.equal(missing.message, `There is no data file ${path.join(folder, "nothing/here.csv")}.`);
    assert.match(missing.hint ?? "", /starts at --data DIR/);
    assert.match((await errorOf(csv(".", { label: "y" }))).message, /is a folder; expected a data file/);
  });

  it("is found by an absolute path from any folder", async () => {
    const name = await fileWith("a,y\n1,2\n");
    const data = await openDataset(csv(path.join(folder, name), { label: "y" }), path.parse(folder).root);
    assert.equal(data.length, 1);
  });

  it("has one digest for the same bytes and label, wherever it lies", async () => {
    const { digest } = await opened("a,y\n1,2\n");
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal((await opened("a,y\n1,2\n")).digest, digest);
    assert.notEqual((await opened("a,y\n1,3\n")).digest, digest);
    assert.notEqual((await opened("a,y\n1,2\n", "a")).digest, digest);
  });

  it("of the digits example has 3,823 and 1,797 samples of 64 counts", async () => {
    const examples = path.join(import.meta.dirname, "../../examples/data");
    const training = await openDataset(csv("optdigits.tra", { label: "Class" }), examples);
    const test = await openDataset(csv("optdigits.tes", { label: "Class" }), examples);
    assert.deepEqual([training.length, test.length], [3823, 1797]);
    const { features, label } = training.read(all(training.length));
    assert(features.every((count) => Number.isInteger(count) && count >= 0 && count <= 16));
    assert.deepEqual([...new Set(label)].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe("text files", () => {
  const decoded = (values: Float32Array) => String.fromCharCode(...values);

  async function windowsOf(source: DataSource): Promise<string[]> {
    const data = await openDataset(source, folder);
    return all(data.length).map((index) => {
      const { features, label } = data.read([index]);
      return `${decoded(features)}>${decoded(label)}`;
    });
  }

  it("give windows of characters and the character after each", async () => {
    const name = await fileWith("abcdef", "windows.txt");
    assert.deepEqual(await windowsOf(text(name, { window: 3, stride: 1 })), ["abc>d", "bcd>e", "cde>f"]);
    assert.deepEqual(await windowsOf(text(name, { window: 3, stride: 2 })), ["abc>d", "cde>f"]);
    assert.deepEqual(await windowsOf(text(name, { window: 5, stride: 9 })), ["abcde>f"]);
  });

  it("come in the order given, and no window reaches into the next file", async () => {
    await fileWith("abc", "order/2.txt");
    await fileWith("", "order/empty.txt");
    await fileWith("x", "order/short.txt");
    await fileWith("123", "order/1.txt");
    const names = ["order/2.txt", "order/empty.txt", "order/short.txt", "order/1.txt"];
    assert.deepEqual(await windowsOf(text(names, { window: 1, stride: 1 })), ["a>b", "b>c", "1>2", "2>3"]);
  });

  it("are read in one go in any order", async () => {
    await fileWith("abcd", "any/a.txt");
    await fileWith("wxyz", "any/b.txt");
    const data = await openDataset(text("any/*.txt", { window: 2, stride: 1 }), folder);
    const { count, features, label } = data.read(Uint32Array.of(3, 0, 2));
    assert.deepEqual([count, decoded(features), decoded(label)], [3, "xyabwx", "zcy"]);
    assert.deepEqual([data.features.shape, data.label.shape], [[2], []]);
  });

  it("are UTF-8, in UTF-16 code units, without a byte-order mark", async () => {
    const name = await fileWith("\uFEFFé→😀", "units.txt");
    const data = await openDataset(text(name, { window: 1, stride: 1 }), folder);
    assert.deepEqual([...data.read([0, 1, 2]).features], [0xe9, 0x2192, 0xd83d]);
    assert.deepEqual([...data.read([0, 1, 2]).label], [0x2192, 0xd83d, 0xde00]);
  });

  it('may be named by a "*" in the last part: sorted by code units, without hidden files and folders', async () => {
    for (const name of ["b.txt", "B.txt", "ä.txt", "a.txt", "a10.txt", "a9.txt", ".hidden.txt", "a.md"]) {
      await fileWith(`${name[0]}-`, `glob/${name}`);
    }
    await mkdir(path.join(folder, "glob/folder.txt"));
    const starts = async (pattern: string) => (await windowsOf(text(pattern, { window: 1, stride: 1 }))).join(" ");
    assert.equal(await starts("glob/*.txt"), "B>- a>- a>- a>- b>- ä>-");
    assert.equal(await starts("glob/a*.txt"), "a>- a>- a>-");
    assert.equal(await starts("glob/*.*d"), "a>-");
    assert.equal(await starts("glob/.h*"), ".>-");
  });

  const invalid: readonly [what: string, bytes: number[], offset: number][] = [
    ["a byte of Latin-1", [0x61, 0xe9, 0x61], 1],
    ["a lone continuation", [0x61, 0x62, 0x80], 2],
    ["an overlong form", [0xc0, 0xaf], 0],
    ["an overlong form of three bytes", [0x61, 0xe0, 0x80, 0xaf], 1],
    ["a surrogate", [0xed, 0xa0, 0x80], 0],
    ["a character that ends too early", [0xc3, 0xa9, 0xe2, 0x86], 2],
    ["a character beyond the last", [0x61, 0xf4, 0x90, 0x80, 0x80], 1],
    ["a byte that UTF-8 never has", [0xf0, 0x9f, 0x98, 0x80, 0xff], 4],
  ];
  for (const [what, bytes, offset] of invalid) {
    it(`with ${what} are refused with the place`, async () => {
      const name = await fileWith(Uint8Array.from(bytes), `${++files}.txt`);
      const { message } = await errorOf(text(name, { window: 1, stride: 1 }));
      const byte = bytes[offset]!.toString(16);
      assert.equal(
        message,
        `${path.join(folder, name)} is not UTF-8: the byte 0x${byte} at offset ${offset} begins no character.`,
      );
    });
  }

  const refusals: readonly [paths: string | string[], message: RegExp][] = [
    ["nothing.txt", /There is no data file .*nothing\.txt/],
    ["*.nothing", /No file matches \*\.nothing \(looked in /],
    ["nowhere/*.txt", /No file matches nowhere\/\*\.txt: there is no folder /],
    ["*/a.txt", /has a "\*" in the name of a folder/],
    ["short.txt", /short\.txt has 3 characters; a window of 8 and the character after it need 9/],
    [["short.txt", "short.txt"], /The longest of 2 text files has 3 characters/],
  ];
  for (const [paths, message] of refusals) {
    it(`${JSON.stringify(paths)} is refused: ${message.source}`, async () => {
      await fileWith("abc", "short.txt");
      assert.match((await errorOf(text(paths, { window: 8, stride: 1 }))).message, message);
    });
  }

  it("have one digest for the same texts, window and stride, whatever their names", async () => {
    const digestOf = async (contents: string[], window = 2, stride = 1) => {
      const names: string[] = [];
      for (const content of contents) names.push(await fileWith(content, `${++files}.txt`));
      return (await openDataset(text(names, { window, stride }), folder)).digest;
    };
    const digest = await digestOf(["abcd", "efgh"]);
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    assert.equal(await digestOf(["abcd", "efgh"]), digest);
    for (const other of [digestOf(["abc", "defgh"]), digestOf(["abcd", "efgh"], 3), digestOf(["abcd", "efgh"], 2, 2)]) {
      assert.notEqual(await other, digest);
    }
  });
});
