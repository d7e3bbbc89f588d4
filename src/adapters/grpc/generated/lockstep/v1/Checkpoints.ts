// Original file: proto/lockstep/v1/checkpoints.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { FetchRequest as _lockstep_v1_FetchRequest, FetchRequest__Output as _lockstep_v1_FetchRequest__Output } from '../../lockstep/v1/FetchRequest.ts';
import type { FilePart as _lockstep_v1_FilePart, FilePart__Output as _lockstep_v1_FilePart__Output } from '../../lockstep/v1/FilePart.ts';
import type { KeepProgress as _lockstep_v1_KeepProgress, KeepProgress__Output as _lockstep_v1_KeepProgress__Output } from '../../lockstep/v1/KeepProgress.ts';
import type { KeepRequest as _lockstep_v1_KeepRequest, KeepRequest__Output as _lockstep_v1_KeepRequest__Output } from '../../lockstep/v1/KeepRequest.ts';

export interface CheckpointsClient extends grpc.Client {
  Fetch(argument: _lockstep_v1_FetchRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_FilePart__Output>;
  Fetch(argument: _lockstep_v1_FetchRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_FilePart__Output>;
  fetch(argument: _lockstep_v1_FetchRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_FilePart__Output>;
  fetch(argument: _lockstep_v1_FetchRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_FilePart__Output>;
  
  Keep(argument: _lockstep_v1_KeepRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_KeepProgress__Output>;
  Keep(argument: _lockstep_v1_KeepRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_KeepProgress__Output>;
  keep(argument: _lockstep_v1_KeepRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_KeepProgress__Output>;
  keep(argument: _lockstep_v1_KeepRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_KeepProgress__Output>;
  
}

export interface CheckpointsHandlers extends grpc.UntypedServiceImplementation {
  Fetch: grpc.handleServerStreamingCall<_lockstep_v1_FetchRequest__Output, _lockstep_v1_FilePart>;
  
  Keep: grpc.handleServerStreamingCall<_lockstep_v1_KeepRequest__Output, _lockstep_v1_KeepProgress>;
  
}

export interface CheckpointsDefinition extends grpc.ServiceDefinition {
  Fetch: MethodDefinition<_lockstep_v1_FetchRequest, _lockstep_v1_FilePart, _lockstep_v1_FetchRequest__Output, _lockstep_v1_FilePart__Output>
  Keep: MethodDefinition<_lockstep_v1_KeepRequest, _lockstep_v1_KeepProgress, _lockstep_v1_KeepRequest__Output, _lockstep_v1_KeepProgress__Output>
}
