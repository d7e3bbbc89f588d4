/** How the cells of one column, or the values of one field, become the raw values of a row. */
import { type ColumnKind, mostCategories, mostWords, wordsOf } from "../../core/columns.ts";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import { cellNumber, isBlank } from "./csv-row.ts";
import { Dictionary } from "./dictionary.ts";
import { notANumber } from "./not-a-number.ts";

interface ColumnSettings {
  readonly name: string;
  readonly kind: ColumnKind;
  /** How a missing value is written; null where none may be missing. */
  readonly missing: readonly string[] | null;
  /** The dictionary of the data that a model was trained with; null for that data itself. */
  readonly known: readonly string[] | null;
  /** A label that is missing, or that the training data did not have, cannot be learned or judged. */
  readonly isLabel: boolean;
}

export interface FinishedColumn {
  readonly column: DataColumn;
  /** The final code of each that was given; null where they were final. */
  readonly final: Uint32Array | null;
}

export class ColumnReader {
  readonly name: string;
  readonly kind: ColumnKind;
  /** Values that a cell becomes. */
  readonly width: number;
  readonly shape: readonly number[];
  readonly mayBeMissing: boolean;
  readonly #settings: ColumnSettings;
  readonly #missing: ReadonlySet<string>;
  readonly #dictionary: Dictionary | null;
  #missingCount = 0;
  #firstMissing: string | null = null;

  constructor(settings: ColumnSettings) {
    const { name, kind, missing, known, isLabel } = settings;
    this.#settings = settings;
    this.name = name;
    this.kind = kind;
    this.shape = typeof kind === "object" ? [kind.length] : [];
    this.width = typeof kind === "object" ? kind.length : 1;
    this.mayBeMissing = missing !== null && !isLabel;
    this.#missing = new Set(this.mayBeMissing ? missing : []);
    const hasTexts = kind === "category" || (typeof kind === "object" && kind.kind === "words");
    this.#dictionary = hasTexts ? new Dictionary(known) : null;
  }

  /** A cell of text. `place`: the line, for messages. */
  readText(text: string, into: Float32Array, at: number, place: () => string): void {
    if (this.isMissing(text)) this.readMissing(into, at, place);
    else if (typeof this.kind === "object") this.#readWords(text, into, at, place);
    else if (this.kind === "category") into[at] = this.#codeOf(text, place);
    else {
      const value = cellNumber(text);
      if (value === null) throw notANumber(place(), this.name, text, this.#settings.isLabel);
      into[at] = value;
    }
  }

  isMissing(text: string): boolean {
    return this.#missing.has(text) || (this.#missing.has("") && isBlank(text));
  }

  /** What is missing has no place in a dictionary, and is no number; a text that is missing has no words. */
  readMissing(into: Float32Array, at: number, place: () => string): void {
    into.fill(Number.NaN, at, at + this.width);
    if (typeof this.kind === "object") return;
    this.#missingCount++;
    this.#firstMissing ??= place();
  }

  /** What is known of the column once all of it is read; and what codes that were given for the time being become. */
  finish(): FinishedColumn {
    const { texts, final } = this.#dictionary?.finish() ?? { texts: null, final: null };
    const column = {
      name: this.name,
      type: typeof this.kind === "object" ? this.kind.kind : this.kind,
      shape: this.shape,
      ...(texts === null ? {} : { texts }),
      ...(this.#firstMissing === null ? {} : { missing: { count: this.#missingCount, first: this.#firstMissing } }),
    };
    return { column, final };
  }

  #codeOf(text: string, place: () => string): number {
    const { name, known, isLabel } = this.#settings;
    if (isLabel && isBlank(text)) {
      throw new LockstepError("invalid-data", `${place()}, the label "${name}" is empty; expected a category.`, {
        hint: "Leave out samples without a label.",
      });
    }
    const code = this.#dictionary!.codeOf(text); // a category has one
    if (isLabel && code < 0) {
      throw new LockstepError(
        "invalid-data",
        `${place()}, the label "${name}" is ${JSON.stringify(clipped(text))}, which the training data has nowhere.`,
        {
          hint: `Its categories are ${known!
            .slice(0, 12)
            .map((known) => JSON.stringify(clipped(known)))
            .join(", ")}${known!.length > 12 ? ", …" : ""}.`,
        },
      );
    }
    if (this.#dictionary!.size > mostCategories) {
      throw tooMany(
        `${place()}, column "${name}" has more than ${mostCategories} distinct texts; a category has ${mostCategories} at most.`,
      );
    }
    return code;
  }

  #readWords(text: string, into: Float32Array, at: number, place: () => string): void {
    into.fill(Number.NaN, at, at + this.width);
    if (this.#dictionary === null) {
      for (let i = 0; i < Math.min(text.length, this.width); i++) into[at + i] = text.charCodeAt(i);
      return;
    }
    const words = wordsOf(text);
    for (let i = 0; i < Math.min(words.length, this.width); i++) into[at + i] = this.#dictionary.codeOf(words[i]!);
    if (this.#dictionary.size > mostWords) {
      throw tooMany(
        `${place()}, column "${this.name}" has more than ${mostWords} distinct words; ${mostWords} were expected at most.`,
      );
    }
  }
}

function tooMany(what: string): LockstepError {
  return new LockstepError("invalid-data", what, {
    hint: "Names, times and keys are no categories: leave the column out (ignore), or make numbers of it.",
  });
}

function clipped(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
