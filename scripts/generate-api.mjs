// `npm run api`: writes docs/api.md from the docstrings of what src/index.ts exports. With a path it writes there instead.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "./install.mjs";

const index = readFileSync(join(root, "src/index.ts"), "utf8");
const own = functionsIn(index);
const others = [...index.matchAll(/^export (?:type )?\{([^}]*)\} from "(\.[^"]+)";/gm)].flatMap(([, names, from]) => {
  const source = readFileSync(join(root, dirname("src/index.ts"), from), "utf8");
  const wanted = names.split(",").flatMap(
    (name) =>
      name
        .trim()
        .replace(/^type /, "")
        .split(" as ")[0] || [],
  );
  return wanted.flatMap((name) => {
    const made = functionsIn(source).filter((one) => one.name === name);
    return made.length > 0 ? made.map((one) => ({ ...one, isFunction: true })) : [declarationOf(name, source, from)];
  });
});
const functions = [...own, ...others.filter(({ isFunction }) => isFunction)];
const types = others.filter(({ isFunction }) => !isFunction);

const page = `# What can be imported from "lockstep"

Made of the docstrings by \`npm run api\`. Errors are of the class \`LockstepError\`; its \`code\` is from a closed set.

## Functions

${functions.map(({ name, text, code }) => section(name, text, code)).join("\n")}
## Types

${types
  .sort((a, b) => (a.name < b.name ? -1 : 1))
  .map(({ name, text, code }) => section(name, text, code))
  .join("\n")}`;
writeFileSync(process.argv[2] ?? join(root, "docs/api.md"), page);

function section(name, text, code) {
  const body = code === "" ? "" : `\n\`\`\`ts\n${code}\n\`\`\`\n`;
  return `### ${name}\n${text === "" ? "" : `\n${text}\n`}${body}`;
}

/** Every exported function with a docstring; one that is declared in several ways, once for each. */
function functionsIn(source) {
  const lines = source.split("\n");
  return lines.flatMap((line, at) => {
    const name = /^export (?:async )?function (\w+)/.exec(line)?.[1];
    if (name === undefined || !lines[at - 1]?.endsWith("*/")) return [];
    const end = lines.findIndex((one, i) => i >= at && /\): .*[{;]$/.test(one));
    const code = lines
      .slice(at, end + 1)
      .join("\n")
      .replace(/(?: \{|;)$/, ";")
      .replace(/^export (?:async )?/, "");
    return [{ name, text: docBefore(lines, at), code }];
  });
}

function declarationOf(name, source, file) {
  const lines = source.split("\n");
  const at = lines.findIndex((line) =>
    new RegExp(`^export (?:abstract )?(?:interface|type|class|const) ${name}\\b`).test(line),
  );
  if (at < 0) throw new Error(`${file} exports no ${name} that could be found.`);
  const text = docBefore(lines, at);
  // A class' members are for whoever reads its file.
  if (/^export (?:class|const)/.test(lines[at])) return { name, text, code: "" };
  let depth = 0;
  for (let end = at; end < lines.length; end++) {
    // What stands in comments and quotes opens nothing.
    const code = lines[end].replace(/\/\*\*.*?\*\/|^\s*\/?\*.*$|"[^"]*"|\/\/.*$/g, "");
    for (const sign of code) depth += "{([".includes(sign) ? 1 : "})]".includes(sign) ? -1 : 0;
    if (depth > 0 || !(/;$/.test(code) || /^\}/.test(code))) continue;
    return {
      name,
      text,
      code: lines
        .slice(at, end + 1)
        .join("\n")
        .replace(/^export /, ""),
    };
  }
  throw new Error(`${file}: the end of ${name} was not found.`);
}

/** The docstring that ends before a line, as Markdown; "" without one. */
function docBefore(lines, at) {
  if (!lines[at - 1]?.endsWith("*/")) return "";
  let begin = at - 1;
  while (!lines[begin].trimStart().startsWith("/**")) begin--;
  return lines
    .slice(begin, at)
    .map((line) =>
      line
        .trim()
        .replace(/^\/\*\* ?/, "")
        .replace(/ ?\*\/$/, "")
        .replace(/^\* ?/, ""),
    )
    .join("\n")
    .trim()
    .replace(/^@param (?:options\.)?(\S+) /gm, "- `$1`: ")
    .replace(/\n(?=- `)/, "\n\n")
    .replace(/\n(?!- |\n)(?=\S)/g, "\n");
}
