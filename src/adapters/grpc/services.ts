/** The services of proto/, loaded once, with the types that proto-loader generates from the same files. */
import { join } from "node:path";
import {
  type ChannelOptions,
  loadPackageDefinition,
  makeClientConstructor,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { maxMessageBytes } from "../../core/limits.ts";
import { packageRoot } from "../system/package-root.ts";
import type { ProtoGrpcType as CheckpointsTypes } from "./generated/checkpoints.ts";
import type { ProtoGrpcType as CollectiveTypes } from "./generated/collective.ts";
import type { ProtoGrpcType as ControlTypes } from "./generated/control.ts";

function load(file: string): unknown {
  const directory = join(packageRoot, "proto");
  const options = { longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [directory] };
  return loadPackageDefinition(loadSync(`lockstep/v1/${file}`, options));
}

// The generated types describe exactly what proto-loader makes of these files.
const control = load("control.proto") as ControlTypes;
const collective = load("collective.proto") as CollectiveTypes;
const checkpoints = load("checkpoints.proto") as CheckpointsTypes;

export const ControlClient = control.lockstep.v1.Control;
export const controlService = ControlClient.service;
export const collectiveService = collective.lockstep.v1.Collective.service;
export const checkpointsService = passRaw(checkpoints.lockstep.v1.Checkpoints.service, "Fetch");
// Made anew: a client keeps the functions that its service had when it was made.
export const CheckpointsClient = makeClientConstructor(
  checkpointsService,
  "Checkpoints",
) as unknown as CheckpointsConstructor;

type CheckpointsConstructor = CheckpointsTypes["lockstep"]["v1"]["Checkpoints"];

/** What these methods answer is bytes that no protobuf encoding touches: they pass as they are, without a copy. */
function passRaw<T extends ServiceDefinition>(service: T, ...methods: readonly (keyof T & string)[]): T {
  const asIs = (bytes: Buffer) => bytes;
  for (const method of methods) {
    service[method]!.responseSerialize = asIs;
    service[method]!.responseDeserialize = asIs;
  }
  return service;
}

/** For connections between workers. Bulk data flows from server to client, whose window is set here. */
export const peerOptions: ChannelOptions = {
  "grpc.max_receive_message_length": maxMessageBytes,
  "grpc.max_send_message_length": maxMessageBytes,
  "grpc-node.flow_control_window": 16 * 1024 * 1024,
  // With retries on, messages are kept and framed again later, and the write callback comes too early.
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
};

/** How fast a silent connection counts as broken. */
export function keepalive(timeMs: number, timeoutMs: number): ChannelOptions {
  return {
    "grpc.keepalive_time_ms": timeMs,
    "grpc.keepalive_timeout_ms": timeoutMs,
    "grpc.keepalive_permit_without_calls": 1,
  };
}

export { status };
