/** As much of protocol buffers as event files need: fields are written one after the other, and read back in any order. */

/** The wire types that event files have. */
const varint = 0;
const fixed64 = 1;
const delimited = 2;
const fixed32 = 5;

/** A message under construction; fields are written in the order of the calls. */
export class MessageWriter {
  readonly #parts: Uint8Array[] = [];

  /** A whole number from 0 to 2^53 − 1: int32, int64, bool or enum. */
  integer(field: number, value: number): this {
    this.#parts.push(varintBytes(field * 8 + varint), varintBytes(value));
    return this;
  }

  double(field: number, value: number): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    this.#parts.push(varintBytes(field * 8 + fixed64), bytes);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#parts.push(varintBytes(field * 8 + delimited), varintBytes(value.length), value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: MessageWriter): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.#parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

/** A field as it was read: a whole number, or bytes; those of a fixed-size number are little-endian. */
export interface Field {
  readonly number: number;
  readonly value: number | Uint8Array;
  /** The value as it is in the message: of a whole number, which may have more digits than `value`, its groups of seven bits. */
  readonly bytes: Uint8Array;
}

/** The fields of a message. Throws a RangeError or TypeError where the bytes are none. */
export function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0;
  const integer = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= message.length || factor > 2 ** 63) throw new RangeError("a number in a message has no end");
      const byte = message[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  const bytes = (length: number): Uint8Array => {
    if (at + length > message.length) throw new RangeError("a field is longer than its message");
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const key = integer();
    const [number, type] = [Math.floor(key / 8), key % 8];
    const begin = at;
    let value: number | Uint8Array;
    if (type === varint) value = integer();
    else if (type === fixed64) value = bytes(8);
    else if (type === delimited) value = bytes(integer());
    else if (type === fixed32) value = bytes(4);
    else throw new TypeError(`a message has a field of type ${type}`);
    yield { number, value, bytes: typeof value === "number" ? message.subarray(begin, at) : value };
  }
}

/** The last value of a field that holds bytes; null where there is none. */
export function bytesField(message: Uint8Array, number: number): Uint8Array | null {
  let found: Uint8Array | null = null;
  for (const field of fieldsOf(message)) {
    if (field.number === number && typeof field.value !== "number") found = field.value;
  }
  return found;
}

function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
