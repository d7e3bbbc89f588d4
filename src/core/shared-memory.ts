/**
 * Memory that threads share, and that the collector knows of. JavaScript engines do not count a SharedArrayBuffer as memory in
 * use, so those that nobody needs any more would stay until something else makes the collector run, be they ten times the state.
 * An ordinary buffer of the same size, which is counted, lives as long as each; nobody writes to it, so that a large one takes no
 * memory.
 */
const counted = new WeakMap<SharedArrayBuffer, ArrayBuffer>();

/** Zeros. Fails with a RangeError where there is not as much memory. */
export function sharedMemory(sizeBytes: number): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(sizeBytes);
  counted.set(memory, new ArrayBuffer(sizeBytes));
  return memory;
}
