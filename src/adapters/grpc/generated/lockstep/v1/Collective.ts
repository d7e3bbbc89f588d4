// Original file: proto/lockstep/v1/collective.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { CopyStateRequest as _lockstep_v1_CopyStateRequest, CopyStateRequest__Output as _lockstep_v1_CopyStateRequest__Output } from '../../lockstep/v1/CopyStateRequest.ts';
import type { Raw as _lockstep_v1_Raw, Raw__Output as _lockstep_v1_Raw__Output } from '../../lockstep/v1/Raw.ts';
import type { SubscribeRequest as _lockstep_v1_SubscribeRequest, SubscribeRequest__Output as _lockstep_v1_SubscribeRequest__Output } from '../../lockstep/v1/SubscribeRequest.ts';

export interface CollectiveClient extends grpc.Client {
  CopyState(argument: _lockstep_v1_CopyStateRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  CopyState(argument: _lockstep_v1_CopyStateRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  copyState(argument: _lockstep_v1_CopyStateRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  copyState(argument: _lockstep_v1_CopyStateRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  
  Subscribe(argument: _lockstep_v1_SubscribeRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  Subscribe(argument: _lockstep_v1_SubscribeRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  subscribe(argument: _lockstep_v1_SubscribeRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  subscribe(argument: _lockstep_v1_SubscribeRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_lockstep_v1_Raw__Output>;
  
}

export interface CollectiveHandlers extends grpc.UntypedServiceImplementation {
  CopyState: grpc.handleServerStreamingCall<_lockstep_v1_CopyStateRequest__Output, _lockstep_v1_Raw>;
  
  Subscribe: grpc.handleServerStreamingCall<_lockstep_v1_SubscribeRequest__Output, _lockstep_v1_Raw>;
  
}

export interface CollectiveDefinition extends grpc.ServiceDefinition {
  CopyState: MethodDefinition<_lockstep_v1_CopyStateRequest, _lockstep_v1_Raw, _lockstep_v1_CopyStateRequest__Output, _lockstep_v1_Raw__Output>
  Subscribe: MethodDefinition<_lockstep_v1_SubscribeRequest, _lockstep_v1_Raw, _lockstep_v1_SubscribeRequest__Output, _lockstep_v1_Raw__Output>
}
