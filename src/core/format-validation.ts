/** Checks what a job file writes of the sources in format-sources.ts, field by field. */
import { type Check, fieldsOf, filledText, joined, optional, wholeNumber, wrongField } from "./field-checks.ts";
import { unreachable } from "./errors.ts";
import type { FormatSource, OwnSource } from "./format-sources.ts";

export const formatFields = {
  dataset: ["kind", "name", "length", "get", "features", "label", "version"],
} as const satisfies Readonly<Record<FormatSource["kind"], readonly string[]>>;

export const formatsExpected = "dataset({ … })";

/** More samples than these could not be counted in 32 bits, as orders of samples are. */
const mostSamples = 2 ** 32 - 1;

/** `value` is an object of this kind. */
export function formatSource(kind: FormatSource["kind"], value: unknown, path: string): FormatSource {
  const source = fieldsOf(value, path, formatFields[kind], formatsExpected);
  const at = (name: string) => joined(path, name);
  switch (kind) {
    case "dataset": {
      const features = optional(source.features, at("features"), shape);
      const label = optional(source.label, at("label"), shape);
      const version = optional(source.version, at("version"), filledText("a text that changes with the samples"));
      return {
        kind,
        name: filledText("what messages call the samples")(source.name, at("name")),
        length: wholeNumber(1, mostSamples)(source.length, at("length")),
        get: sampleFunction(source.get, at("get")),
        ...(features === undefined ? {} : { features }),
        ...(label === undefined ? {} : { label }),
        ...(version === undefined ? {} : { version }),
      };
    }
    default:
      return unreachable(kind);
  }
}

const sampleFunction: Check<OwnSource["get"]> = (value, path) => {
  if (typeof value === "function") return value as OwnSource["get"]; // what it gives is checked when it is called
  throw wrongField(path, value, "a function that gives { features, label } of an index");
};

const shape: Check<readonly number[]> = (value, path) => {
  if (!Array.isArray(value)) throw wrongField(path, value, "the shape of one sample, as [28, 28]");
  return value.map((size, index) => wholeNumber(1)(size, `${path}[${index}]`));
};
