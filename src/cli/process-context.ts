/** What is known of a process while it runs, for its log: the job and run that it belongs to, and how far it is. */
import type { LogFields } from "../ports/log.ts";

export class ProcessContext {
  #fields: LogFields = {};

  get fields(): LogFields {
    return this.#fields;
  }

  note(fields: LogFields): void {
    this.#fields = { ...this.#fields, ...fields };
  }
}

/** What is random in a worker's id. */
export function incarnationOf(workerId: string, name: string): string {
  return workerId.slice(name.length + 1);
}
