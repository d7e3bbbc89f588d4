import type { Tensor } from "./engine.ts";

/** Of a row that is copied, at once: 4 MiB. A multiple of 64 bytes, so that the engine shares the memory of a piece with its row. */
const pieceLength = 1024 * 1024;

/**
 * Copies a tensor's numbers into a row that is as long, in pieces: an engine hands a tensor over in memory of its own, and a
 * piece's memory is used again for the next ones, where that of a whole row would be new, which costs several times the copy.
 */
export function readTensor(tensor: Tensor, into: Float32Array): void {
  if (tensor.size <= pieceLength) {
    into.set(tensor.dataSync<"float32">());
    return;
  }
  const row = tensor.flatten();
  for (let begin = 0; begin < row.size; begin += pieceLength) {
    const piece = row.slice([begin], [Math.min(pieceLength, row.size - begin)]);
    into.set(piece.dataSync<"float32">(), begin);
    piece.dispose();
  }
  row.dispose();
}
