/** A run's events for a program: each listener, and each loop over them, has all from when it began. */
import type { LockstepError } from "../core/errors.ts";
import type { RunEvent, RunEventOf, RunEventType } from "../core/run-events.ts";

interface Reader {
  readonly resolve: (next: IteratorResult<RunEvent>) => void;
  readonly reject: (error: unknown) => void;
}

/** Hands events on to listeners and to whoever iterates, each of whom has all of them from when it began. */
export class RunEventHub implements AsyncIterable<RunEvent> {
  readonly #listeners = new Map<RunEventType, Set<(event: never) => void>>();
  readonly #iterators = new Set<{ readonly waiting: RunEvent[]; reader: Reader | null }>();
  #end: { readonly error: LockstepError | null } | null = null;

  on<Type extends RunEventType>(type: Type, listener: (event: RunEventOf<Type>) => void): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  tell(event: RunEvent): void {
    // The listeners of a type take its events: see `on`.
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) listener(event as never);
    for (const iterator of this.#iterators) {
      if (iterator.reader) iterator.reader.resolve({ done: false, value: event });
      else iterator.waiting.push(event);
      iterator.reader = null;
    }
  }

  /** Nothing follows; whoever iterates meets the error, where there is one. */
  end(error: LockstepError | null): void {
    this.#end = { error };
    for (const { reader } of this.#iterators) this.#finish(reader);
  }

  #finish(reader: Reader | null): void {
    if (this.#end?.error) reader?.reject(this.#end.error);
    else reader?.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterator<RunEvent> {
    const iterator: { readonly waiting: RunEvent[]; reader: Reader | null } = { waiting: [], reader: null };
    this.#iterators.add(iterator);
    return {
      next: () =>
        new Promise<IteratorResult<RunEvent>>((resolve, reject) => {
          const value = iterator.waiting.shift();
          if (value) resolve({ done: false, value });
          else if (this.#end) this.#finish({ resolve, reject });
          else iterator.reader = { resolve, reject };
        }),
      return: () => {
        this.#iterators.delete(iterator);
        return new Promise<IteratorResult<RunEvent>>((resolve) => resolve({ done: true, value: undefined }));
      },
    };
  }
}
