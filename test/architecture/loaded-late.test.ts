/** What only some processes need is loaded by those alone, when they need it: nobody else waits for it at a start. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { filesBelow, textOf, withoutComments } from "./sources.ts";

const packages = /^(prom-client|pino|@opentelemetry\/)/;
const folders = /^src\/adapters\/(metrics|tracing)\//;

/** What a module loads with itself, and not by a call. */
function staticImports(file: string): string[] {
  const code = withoutComments(textOf(file));
  const statements = code.matchAll(
    /^(?:import|export)(?!\s+type\b)(?:\s*[\w*\s{},$]+?\s*from)?\s*["']([^"'\n]+)["']/gm,
  );
  return Array.from(statements, ([, specifier]) => specifier!);
}

test("Prometheus' and OpenTelemetry's packages are loaded by a call, and only by their adapters", () => {
  const all = filesBelow("src", ".ts");
  const loads = (file: string) => staticImports(file).some((specifier) => packages.test(specifier));
  const heavy = new Set(all.filter(loads));
  assert.ok(heavy.size >= 4, "they are found");
  assert.deepEqual(
    [...heavy].filter((file) => !folders.test(file)),
    [],
  );
  const wrong = all.flatMap((file) =>
    staticImports(file)
      .map((specifier) => path.posix.join(path.posix.dirname(file), specifier))
      .filter((target) => heavy.has(target) && !folders.test(file))
      .map((target) => `${file} loads ${target}`),
  );
  assert.deepEqual(wrong, []);
});
