/** Notices the death of another process sooner than its lease runs out. */
export interface Liveness {
  /**
   * Calls back once, when the process that listens at the address is gone: a connection to it has ended or could not be
   * made, and the address *refuses* connections. Silence proves nothing, and is left to the lease.
   */
  watch(address: string, onGone: () => void): { close(): void };
}
