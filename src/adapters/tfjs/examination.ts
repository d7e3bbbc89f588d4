/** Whether a step can be a graph: found out by recording it twice and comparing. */
import { LockstepError } from "../../core/errors.ts";
import { NotRecordable, type Recording } from "./recorder.ts";

/** Of one step, as far as it was looked at. */
export class Examination {
  readonly #onNotRecordable: (reason: string) => void;
  readonly #digests = new Map<string, string>();
  #looks = 0;
  #isRecordable = true;
  /** Two recordings were equal. */
  isSure = false;

  constructor(onNotRecordable: (reason: string) => void) {
    this.#onNotRecordable = onNotRecordable;
  }

  /** What `record` gives, or null if the step cannot be recorded; it is then run op by op from here on. */
  look(signature: string, record: (number: number) => Recording): Recording | null {
    if (!this.#isRecordable) return null;
    try {
      const recorded = record(this.#looks++);
      const before = this.#digests.get(signature);
      const { digest } = recorded;
      this.#digests.set(signature, digest);
      if (before === undefined) return recorded;
      if (before !== digest) throw new NotRecordable("it computes with something that is another one in every run");
      this.isSure = true;
      return recorded;
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === null) throw error;
      // Others take the step as a graph already: they would get other bits.
      if (this.isSure) throw new LockstepError("invalid-job", `A step was recorded and now cannot be: ${reason}.`);
      this.#isRecordable = false;
      this.#onNotRecordable(reason);
      return null;
    }
  }
}

/** The model's own errors may be wrapped around it. */
function reasonOf(error: unknown): string | null {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof NotRecordable) return at.message;
  return null;
}
