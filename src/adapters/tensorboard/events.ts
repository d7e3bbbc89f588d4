/**
 * TensorBoard's events, in the form that Keras writes: scalars and histograms are tensors, and a plugin's name says what they
 * are. Field numbers are those of TensorFlow's event.proto, summary.proto and tensor.proto.
 */
import { bytesField, fieldsOf, MessageWriter } from "./protobuf.ts";

/** The first event of every file. */
const fileVersion = "brain.Event:2";

export type SummaryValue =
  | { readonly kind: "scalar"; readonly tag: string; readonly value: number }
  /** Buckets: where each begins, where it ends, and how many values are in it. */
  | {
      readonly kind: "histogram";
      readonly tag: string;
      readonly buckets: readonly (readonly [number, number, number])[];
    }
  /** A model's layers, as JSON in Keras' form. */
  | { readonly kind: "model"; readonly tag: string; readonly json: string };

export type Event =
  | { readonly kind: "version" }
  /** Whatever was written before of this step and later ones counts no more. */
  | { readonly kind: "restart"; readonly step: number }
  | { readonly kind: "summary"; readonly step: number; readonly values: readonly SummaryValue[] };

export function encodeEvent(event: Event, wallTimeS: number): Uint8Array {
  const message = new MessageWriter().double(1, wallTimeS);
  if (event.kind === "version") return message.text(3, fileVersion).finish();
  message.integer(2, event.step);
  if (event.kind === "restart") return message.message(7, new MessageWriter().integer(1, started)).finish();
  const summary = new MessageWriter();
  for (const value of event.values) summary.message(1, encodeValue(value));
  return message.message(5, summary).finish();
}

/** SessionLog's status START. */
const started = 1;

const types = { float: 1, double: 2, string: 7 } as const;

/** The plugin, the class of its data, and what else it says of itself. */
const plugins = {
  scalar: { name: "scalars", dataClass: 1, content: "" },
  histogram: { name: "histograms", dataClass: 2, content: "" },
  model: { name: "graph_keras_model", dataClass: 0, content: "1" },
} as const;

function encodeValue(value: SummaryValue): MessageWriter {
  const { name, dataClass, content } = plugins[value.kind];
  const plugin = new MessageWriter().text(1, name);
  if (content !== "") plugin.text(2, content);
  const metadata = new MessageWriter().message(1, plugin);
  if (dataClass > 0) metadata.integer(4, dataClass);
  return new MessageWriter().text(1, value.tag).message(8, encodeTensor(value)).message(9, metadata);
}

function encodeTensor(value: SummaryValue): MessageWriter {
  switch (value.kind) {
    case "scalar": {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setFloat32(0, value.value, true);
      return tensor(types.float, []).bytes(4, bytes);
    }
    case "histogram": {
      const bytes = new Uint8Array(value.buckets.length * 3 * 8);
      const view = new DataView(bytes.buffer);
      for (const [i, number] of value.buckets.flat().entries()) view.setFloat64(i * 8, number, true);
      return tensor(types.double, [value.buckets.length, 3]).bytes(4, bytes);
    }
    case "model":
      return tensor(types.string, []).text(8, value.json);
  }
}

function tensor(type: number, shape: readonly number[]): MessageWriter {
  const dimensions = new MessageWriter();
  for (const size of shape) dimensions.message(2, new MessageWriter().integer(1, size));
  return new MessageWriter().integer(1, type).message(2, dimensions);
}

/** What is read back of an event: enough to know what is there. */
export interface ReadEvent {
  readonly step: number;
  readonly isRestart: boolean;
  readonly scalars: readonly { readonly tag: string; readonly value: number }[];
  readonly models: readonly string[];
}

/** Throws where the bytes are no message. */
export function decodeEvent(bytes: Uint8Array): ReadEvent {
  let step = 0;
  let isRestart = false;
  const scalars: { tag: string; value: number }[] = [];
  const models: string[] = [];
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === 2 && typeof value === "number") step = value;
    if (typeof value === "number") continue;
    if (number === 7) isRestart = [...fieldsOf(value)].some((field) => field.number === 1 && field.value === started);
    if (number !== 5) continue;
    for (const one of fieldsOf(value)) {
      if (one.number !== 1 || typeof one.value === "number") continue;
      const tag = new TextDecoder().decode(bytesField(one.value, 1) ?? new Uint8Array());
      const { scalar, model } = contentOf(one.value);
      if (scalar !== null) scalars.push({ tag, value: scalar });
      if (model !== null) models.push(model);
    }
  }
  return { step, isRestart, scalars, models };
}

function contentOf(value: Uint8Array): { scalar: number | null; model: string | null } {
  const metadata = bytesField(value, 9);
  const plugin = metadata && bytesField(metadata, 1);
  const name = new TextDecoder().decode((plugin && bytesField(plugin, 1)) ?? new Uint8Array());
  const tensor = bytesField(value, 8);
  if (!tensor) return { scalar: null, model: null };
  if (name === plugins.model.name) {
    return { scalar: null, model: new TextDecoder().decode(bytesField(tensor, 8) ?? new Uint8Array()) };
  }
  const content = name === plugins.scalar.name ? bytesField(tensor, 4) : null;
  if (content?.length !== 4) return { scalar: null, model: null };
  return { scalar: new DataView(content.buffer, content.byteOffset).getFloat32(0, true), model: null };
}
