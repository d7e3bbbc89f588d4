import { assert, LockstepError } from "./errors.ts";

/**
 * The safetensors format, for float32 tensors: 8 bytes with the header's length (unsigned, little-endian); the header,
 * JSON padded with spaces so that the data begin on an 8-byte boundary; the data, tensor after tensor in row-major
 * order, without gaps. Only the header is made and read here; the data never pass through.
 * Source: the format's description in the README of huggingface/safetensors.
 */
export interface TensorShape {
  /** 1 to 1,024 characters, without control characters; not "__metadata__". */
  readonly name: string;
  /** Sizes of the dimensions; [] is a scalar, and a 0 makes the tensor empty. */
  readonly shape: readonly number[];
}

export interface TensorLayout extends TensorShape {
  /** Where the tensor's data begin and end, in bytes from the beginning of the data. */
  readonly beginBytes: number;
  readonly endBytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their data. */
  readonly tensors: readonly TensorLayout[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Size of the length that comes before the header. */
export const lengthSizeBytes = 8;

/** The largest header that is written or read; the bound of the reference implementation. */
export const maximumHeaderSizeBytes = 100_000_000;

const metadataKey = "__metadata__";

/** How many bytes the data of a float32 tensor of this shape take. */
export function dataSizeBytes(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, Float32Array.BYTES_PER_ELEMENT);
}

/**
 * All bytes of a file that come before the data: length, header and padding. The data follow in the order of
 * `tensors`, each `dataSizeBytes(shape)` long.
 */
export function encodeHeader(
  tensors: readonly TensorShape[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const names = new Set<string>();
  const entries: string[] = [];
  if (Object.keys(metadata).length > 0) entries.push(`"${metadataKey}":${JSON.stringify(metadata)}`);
  let beginBytes = 0;
  for (const { name, shape } of tensors) {
    assert(isName(name) && !names.has(name), `a tensor has a name of its own, got ${JSON.stringify(name)}`);
    assert(isShape(shape), `the shape of tensor ${JSON.stringify(name)} is whole numbers, got [${shape.join(", ")}]`);
    names.add(name);
    const endBytes = beginBytes + dataSizeBytes(shape);
    const entry = { dtype: "F32", shape, data_offsets: [beginBytes, endBytes] };
    // Not by way of an object of all entries: that would move names such as "0" to the front.
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    beginBytes = endBytes;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const headerSizeBytes = Math.ceil(json.length / 8) * 8;
  assert(headerSizeBytes <= maximumHeaderSizeBytes, `a header takes at most ${maximumHeaderSizeBytes} bytes`);

  const bytes = new Uint8Array(lengthSizeBytes + headerSizeBytes).fill(" ".charCodeAt(0));
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerSizeBytes), true);
  bytes.set(json, lengthSizeBytes);
  return bytes;
}

/**
 * The size of the header, from the file's first 8 bytes and its size.
 * Fails with "corrupt-checkpoint" when the header cannot be that large.
 */
export function decodeHeaderSize(length: Uint8Array, fileSizeBytes: number): number {
  if (length.length < lengthSizeBytes) throw corrupt(`it is ${fileSizeBytes} bytes long, too short for a header`);
  const view = new DataView(length.buffer, length.byteOffset, lengthSizeBytes);
  const declared = view.getBigUint64(0, true);
  const most = Math.min(maximumHeaderSizeBytes, fileSizeBytes - lengthSizeBytes);
  if (declared < 2n || declared > BigInt(most)) {
    throw corrupt(`its header should be ${declared} bytes long, and 2 to ${most} are possible`);
  }
  return Number(declared);
}

/**
 * Reads a header (the bytes after the length, with or without the padding) and checks it against the size of the data
 * that follow it: they must be exactly the tensors, without gaps or overlaps.
 * Fails with "corrupt-checkpoint"; with "incompatible" for tensors that are not float32.
 */
export function decodeHeader(header: Uint8Array, dataBytes: number): SafetensorsHeader {
  const entries = parseHeader(header);
  let metadata: Readonly<Record<string, string>> = {};
  const tensors: TensorLayout[] = [];
  for (const [name, value] of entries) {
    if (name === metadataKey) metadata = readMetadata(value);
    else tensors.push(readTensor(name, value));
  }
  tensors.sort((a, b) => a.beginBytes - b.beginBytes || a.endBytes - b.endBytes);
  let expected = 0;
  for (const { name, beginBytes, endBytes } of tensors) {
    if (beginBytes !== expected) {
      const what = beginBytes < expected ? "overlaps the tensor before it" : "leaves a gap before it";
      throw corrupt(`tensor ${quote(name)} begins at byte ${beginBytes} of the data and ${what}, to byte ${expected}`);
    }
    expected = endBytes;
  }
  if (expected !== dataBytes) {
    throw corrupt(`its tensors take ${expected} bytes, and ${dataBytes} bytes of data follow`);
  }
  return { tensors, metadata };
}

/** The header's entries in the order of the text; by name they would come out of order, and the last double would win. */
function parseHeader(header: Uint8Array): (readonly [string, unknown])[] {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt("its header is not JSON in UTF-8", cause);
  }
  if (!isRecord(value) || !text.startsWith("{"))
    throw corrupt("its header is not a JSON object from its first byte on");
  const record = value;
  return objectKeys(text).map((key) => [key, record[key]]);
}

function readTensor(name: string, value: unknown): TensorLayout {
  if (!isName(name)) {
    throw corrupt(`tensor ${quote(name)} needs a name of 1 to 1,024 characters without control characters`);
  }
  const keys = isRecord(value) ? Object.keys(value).sort().join() : "";
  if (!isRecord(value) || keys !== "data_offsets,dtype,shape") {
    throw corrupt(`tensor ${quote(name)} is not described by dtype, shape and data_offsets alone`);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string") throw corrupt(`tensor ${quote(name)} has a dtype that is not text`);
  if (dtype !== "F32") {
    const message = `Tensor ${quote(name)} of a safetensors file has type ${quote(dtype)}; lockstep reads F32 alone.`;
    throw new LockstepError("incompatible", message, { hint: "Convert the file's tensors to float32." });
  }
  if (!isShape(shape)) throw corrupt(`tensor ${quote(name)} has a shape that is not a list of whole numbers`);
  const [beginBytes, endBytes, ...rest] = isCounts(offsets) ? offsets : [];
  if (beginBytes === undefined || endBytes === undefined || rest.length > 0) {
    throw corrupt(`tensor ${quote(name)} has data_offsets that are not two whole numbers`);
  }
  if (endBytes - beginBytes !== dataSizeBytes(shape)) {
    const size = `${dataSizeBytes(shape)} bytes for shape [${shape.join(", ")}]`;
    throw corrupt(`tensor ${quote(name)} has data_offsets [${beginBytes}, ${endBytes}] and needs ${size}`);
  }
  return { name, shape, beginBytes, endBytes };
}

function readMetadata(value: unknown): Readonly<Record<string, string>> {
  if (!isTexts(value)) throw corrupt(`its ${metadataKey} is not texts by name`);
  return value;
}

/**
 * The keys of a JSON object in the order of the text. Fails where a key occurs twice in one object, here or further in.
 * `json` must be valid JSON, which makes this as short as it is.
 */
function objectKeys(json: string): readonly string[] {
  const keys: string[] = [];
  const open: Set<string>[] = [];
  for (let at = 0; at < json.length; at += 1) {
    if (json[at] === "{") open.push(new Set());
    if (json[at] === "}") open.pop();
    if (json[at] !== '"') continue;
    const begin = at;
    at += 1;
    while (json[at] !== '"') at += json[at] === "\\" ? 2 : 1;
    let next = at + 1;
    while (/\s/.test(json[next] ?? "")) next += 1;
    if (json[next] !== ":") continue;
    const key: string = JSON.parse(json.slice(begin, at + 1));
    const siblings = open.at(-1)!;
    if (siblings.has(key)) throw corrupt(`its header has the name ${quote(key)} twice`);
    siblings.add(key);
    if (open.length === 1) keys.push(key);
  }
  return keys;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every((text) => typeof text === "string");
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function isShape(value: unknown): value is readonly number[] {
  return isCounts(value) && Number.isSafeInteger(dataSizeBytes(value));
}

function isName(name: string): boolean {
  // Control characters could rewrite a terminal that lists them; half a surrogate pair is not text.
  return name !== metadataKey && name.length >= 1 && name.length <= 1024 && !/[\p{Cc}\p{Cs}]/u.test(name);
}

/** For messages: quoted, and not without bounds. */
function quote(text: string): string {
  return JSON.stringify(text.length <= 100 ? text : `${text.slice(0, 100)}…`);
}

function corrupt(problem: string, cause?: unknown): LockstepError {
  return new LockstepError("corrupt-checkpoint", `A safetensors file is malformed: ${problem}.`, { cause });
}
