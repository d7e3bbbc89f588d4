import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { filesBelow, root, textOf } from "./sources.ts";

/** A document's prose: code, in blocks or in a line, holds no links. */
function proseOf(text: string): string {
  return text.replace(/^(```|~~~)[\s\S]*?^\1[^\n]*$/gm, "").replace(/`[^`\n]*`/g, "");
}

/** Where a document's links, pictures and reference definitions lead, but for those to other hosts. */
function localLinks(text: string): string[] {
  const prose = proseOf(text);
  const inline = Array.from(prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g), ([, target]) => target!);
  const definitions = Array.from(prose.matchAll(/^\[[^\]]+\]:\s*<?(\S+?)>?\s*$/gm), ([, target]) => target!);
  const pictures = Array.from(prose.matchAll(/<(?:img|a)\b[^>]*?\b(?:src|href)="([^"]+)"/g), ([, target]) => target!);
  return [...inline, ...definitions, ...pictures].filter((target) => !/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(target));
}

/** The anchors that headings get where repositories are read on the web. */
function anchorsOf(text: string): string[] {
  const withoutBlocks = text.replace(/^(```|~~~)[\s\S]*?^\1[^\n]*$/gm, "");
  const seen = new Map<string, number>();
  return Array.from(withoutBlocks.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm), ([, heading]) => {
    const title = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = title.replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    return times === 0 ? anchor : `${anchor}-${times}`;
  });
}

/** Links of one document that lead nowhere, each as a sentence. */
function brokenLinks(file: string, text: string): string[] {
  return localLinks(text).flatMap((link) => {
    const [target = "", anchor] = link.split("#");
    const place = target === "" ? file : path.posix.join(path.posix.dirname(file), decodeURIComponent(target));
    if (place.startsWith("..")) return [`${file}: ${link} leads out of the repository`];
    if (place !== file && !existsSync(path.join(root, place))) return [`${file}: ${link} is not there`];
    if (anchor === undefined || !place.endsWith(".md")) return [];
    const known = anchorsOf(place === file ? text : textOf(place));
    return known.includes(anchor) ? [] : [`${file}: ${place} has no heading #${anchor}`];
  });
}

const documents = filesBelow(".", ".md");

test("every relative link in a document leads to a file, and to a heading in it", () => {
  assert.ok(documents.length > 0, "there are documents");
  assert.deepEqual(
    documents.flatMap((file) => brokenLinks(file, textOf(file))),
    [],
  );
});

test("ARCHITECTURE names every module of core, ports and runtime, and every kind of adapter", () => {
  const text = textOf("ARCHITECTURE.md");
  const isNamed = (name: string) =>
    text.includes(`\`${name}\``) || text.includes(`/${name}`) || text.includes(`${name}.ts`);
  const modules = ["core", "ports", "runtime"].flatMap((layer) => filesBelow(`src/${layer}`, ".ts"));
  const adapters = new Set(filesBelow("src/adapters", ".ts").map((file) => file.split("/")[2]!));
  const names = [...modules.map((file) => path.basename(file, ".ts")), ...adapters];
  assert.ok(names.length > 100);
  assert.deepEqual(
    names.filter((name) => !isNamed(name)),
    [],
  );
});

test("a link that leads nowhere is seen, in each way of writing one", () => {
  const broken = [
    "[a](missing.md)",
    "![a](docs/missing.png)",
    "[a](../outside.md)",
    '[a](missing.md "title")',
    "text\n\n[a]: missing.md\n",
    '<img src="missing.svg" width="3">',
    "# One heading\n\n[a](#another)",
    "[a](missing.md#heading)",
  ];
  for (const text of broken) assert.equal(brokenLinks("SAMPLE.md", text).length, 1, text);
  const sound = [
    "[a](package.json)",
    "[a](https://example.org/x.md) [b](mailto:a@example.org)",
    "# One `heading`, and more\n\n[a](#one-heading-and-more)",
    "```md\n[a](missing.md)\n```\n",
    "`[a](missing.md)`",
  ];
  for (const text of sound) assert.deepEqual(brokenLinks("SAMPLE.md", text), [], text);
});
