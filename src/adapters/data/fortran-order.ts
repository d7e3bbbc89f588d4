/** Arrays in Fortran order, whose first index varies fastest: a column of one element of every row, and then the next column. */
import { sizeOf } from "../../core/transforms.ts";
import { type ArrayLayout, bytesOf } from "./number-array.ts";

/** Rows that are put together at once, or one that is larger. */
const pieceBytes = 1 << 26;

/** `read` gives the file's bytes, in memory of their own; `add` gets whole rows. */
export async function rowsOfColumns(
  layout: ArrayLayout,
  read: (begin: number, end: number) => Promise<Uint8Array>,
  add: (rows: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const { type, offsetBytes } = layout;
  const [count = 0, ...shape] = layout.shape;
  const elementBytes = bytesOf[type];
  const width = sizeOf(shape);
  const places = placesInRow(shape);
  const most = Math.max(1, Math.floor(pieceBytes / elementBytes / width));
  for (let first = 0; first < count; first += most) {
    const rows = Math.min(most, count - first);
    const bytes = new Uint8Array(rows * width * elementBytes);
    const elements = wholes(bytes, elementBytes);
    for (let column = 0; column < width; column++) {
      const begin = offsetBytes + (column * count + first) * elementBytes;
      const values = wholes(await read(begin, begin + rows * elementBytes), elementBytes);
      for (let row = 0, at = places[column]!; row < rows; row++, at += width) elements[at] = values[row]!;
    }
    await add(bytes);
  }
}

/** The place in a row of each column. */
function placesInRow(shape: readonly number[]): Uint32Array {
  const places = new Uint32Array(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let column = 0; column < places.length; column++) {
    places[column] = index.reduce((place, at, axis) => place * shape[axis]! + at, 0);
    for (let axis = 0; axis < shape.length && ++index[axis]! === shape[axis]; axis++) index[axis] = 0;
  }
  return places;
}

/** Elements as whole numbers, whatever they mean: a float might lose bits of a NaN. */
function wholes({ buffer, byteOffset, length }: Uint8Array, elementBytes: 1 | 2 | 4 | 8) {
  switch (elementBytes) {
    case 1:
      return new Uint8Array(buffer, byteOffset, length);
    case 2:
      return new Uint16Array(buffer, byteOffset, length / 2);
    case 4:
      return new Uint32Array(buffer, byteOffset, length / 4);
    case 8:
      return new BigUint64Array(buffer, byteOffset, length / 8);
  }
}
