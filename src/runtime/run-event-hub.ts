/** A run's events for a program: each listener, and each loop over them, has all from when it began. */
import type { LockstepError } from "../core/errors.ts";
import type { RunEvent, RunEventOf, RunEventType } from "../core/run-events.ts";

interface Reader {
  readonly resolve: (next: IteratorResult<RunEvent>) => void;
  readonly reject: (error: unknown) => void;
}

/** One loop: events that nobody has asked for yet, or those who have asked for one that has not come. */
interface Iteration {
  readonly waiting: RunEvent[];
  readonly readers: Reader[];
}

/** Hands events on to listeners and to whoever iterates, each of whom has all of them from when it began. */
export class RunEventHub implements AsyncIterable<RunEvent> {
  readonly #listeners = new Map<RunEventType, Set<(event: never) => void>>();
  readonly #iterators = new Set<Iteration>();
  #end: { readonly error: LockstepError | null } | null = null;

  on<Type extends RunEventType>(type: Type, listener: (event: RunEventOf<Type>) => void): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  tell(event: RunEvent): void {
    // The listeners of a type take its events: see `on`.
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) {
      try {
        listener(event as never);
      } catch (error) {
        // It is the program's own, and uncaught there; whoever tells has a cluster to see to.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    for (const { waiting, readers } of this.#iterators) {
      const reader = readers.shift();
      if (reader) reader.resolve({ done: false, value: event });
      else waiting.push(event);
    }
  }

  /** Nothing follows; whoever iterates meets the error, where there is one. */
  end(error: LockstepError | null): void {
    this.#end = { error };
    for (const { readers } of this.#iterators) for (const reader of readers.splice(0)) this.#finish(reader);
  }

  #finish(reader: Reader): void {
    if (this.#end?.error) reader.reject(this.#end.error);
    else reader.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterator<RunEvent> {
    const iterator: Iteration = { waiting: [], readers: [] };
    this.#iterators.add(iterator);
    return {
      next: () =>
        new Promise<IteratorResult<RunEvent>>((resolve, reject) => {
          const value = iterator.waiting.shift();
          if (value) resolve({ done: false, value });
          else if (this.#end) this.#finish({ resolve, reject });
          else iterator.readers.push({ resolve, reject });
        }),
      return: () => {
        this.#iterators.delete(iterator);
        return new Promise<IteratorResult<RunEvent>>((resolve) => resolve({ done: true, value: undefined }));
      },
    };
  }
}
