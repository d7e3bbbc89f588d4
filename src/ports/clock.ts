/** Time for everything outside `core/`, which is handed `now` instead. */
export interface Clock {
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  monotonicMs(): number;
  /** Milliseconds since 1970 on the wall clock; for people to read, never for decisions. */
  wallMs(): number;
  /** Resolves after `ms`, or rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
