/** A launch that somebody wants to end. */
import { whenParentEnds } from "../adapters/system/child-process.ts";

/** Ctrl-C or SIGTERM: the first asks for an orderly end, the second ends this process at once. */
export class StopRequest {
  requested = false;
  readonly whenRequested: Promise<void>;
  #resolve: () => void = () => {};
  taken = false;
  readonly #handler: () => void;

  /** @param options.hearsSignals false in a program whose signals are its own */
  constructor(say: (line: string) => void, { hearsSignals = true }: { readonly hearsSignals?: boolean } = {}) {
    this.whenRequested = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#handler = () => {
      if (this.requested && hearsSignals) process.exit(130);
      this.requested = true;
      say("Stopping: the step is finished and a checkpoint published. Once more to end at once.");
      this.#resolve();
    };
    if (!hearsSignals) return;
    process.on("SIGINT", this.#handler);
    process.on("SIGTERM", this.#handler);
    // Started by another program of lockstep's, it ends with that one.
    whenParentEnds(() => this.requested || this.#handler());
  }

  /** As the first signal does. */
  request(): void {
    if (!this.requested) this.#handler();
  }

  /** True the first time after the request. */
  takeRequest(): boolean {
    if (!this.requested || this.taken) return false;
    this.taken = true;
    return true;
  }

  close(): void {
    process.off("SIGINT", this.#handler);
    process.off("SIGTERM", this.#handler);
  }
}
