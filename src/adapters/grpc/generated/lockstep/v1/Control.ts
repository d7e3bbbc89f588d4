// Original file: proto/lockstep/v1/control.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AskReply as _lockstep_v1_AskReply, AskReply__Output as _lockstep_v1_AskReply__Output } from '../../lockstep/v1/AskReply.ts';
import type { AskRequest as _lockstep_v1_AskRequest, AskRequest__Output as _lockstep_v1_AskRequest__Output } from '../../lockstep/v1/AskRequest.ts';
import type { ProgressAck as _lockstep_v1_ProgressAck, ProgressAck__Output as _lockstep_v1_ProgressAck__Output } from '../../lockstep/v1/ProgressAck.ts';
import type { ProgressReport as _lockstep_v1_ProgressReport, ProgressReport__Output as _lockstep_v1_ProgressReport__Output } from '../../lockstep/v1/ProgressReport.ts';
import type { StatusReply as _lockstep_v1_StatusReply, StatusReply__Output as _lockstep_v1_StatusReply__Output } from '../../lockstep/v1/StatusReply.ts';
import type { StatusRequest as _lockstep_v1_StatusRequest, StatusRequest__Output as _lockstep_v1_StatusRequest__Output } from '../../lockstep/v1/StatusRequest.ts';
import type { StopReply as _lockstep_v1_StopReply, StopReply__Output as _lockstep_v1_StopReply__Output } from '../../lockstep/v1/StopReply.ts';
import type { StopRequest as _lockstep_v1_StopRequest, StopRequest__Output as _lockstep_v1_StopRequest__Output } from '../../lockstep/v1/StopRequest.ts';

export interface ControlClient extends grpc.Client {
  Ask(argument: _lockstep_v1_AskRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  Ask(argument: _lockstep_v1_AskRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  Ask(argument: _lockstep_v1_AskRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  Ask(argument: _lockstep_v1_AskRequest, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  ask(argument: _lockstep_v1_AskRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  ask(argument: _lockstep_v1_AskRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  ask(argument: _lockstep_v1_AskRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  ask(argument: _lockstep_v1_AskRequest, callback: grpc.requestCallback<_lockstep_v1_AskReply__Output>): grpc.ClientUnaryCall;
  
  GetStatus(argument: _lockstep_v1_StatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _lockstep_v1_StatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _lockstep_v1_StatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _lockstep_v1_StatusRequest, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _lockstep_v1_StatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _lockstep_v1_StatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _lockstep_v1_StatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _lockstep_v1_StatusRequest, callback: grpc.requestCallback<_lockstep_v1_StatusReply__Output>): grpc.ClientUnaryCall;
  
  ReportProgress(argument: _lockstep_v1_ProgressReport, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  ReportProgress(argument: _lockstep_v1_ProgressReport, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  ReportProgress(argument: _lockstep_v1_ProgressReport, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  ReportProgress(argument: _lockstep_v1_ProgressReport, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  reportProgress(argument: _lockstep_v1_ProgressReport, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  reportProgress(argument: _lockstep_v1_ProgressReport, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  reportProgress(argument: _lockstep_v1_ProgressReport, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  reportProgress(argument: _lockstep_v1_ProgressReport, callback: grpc.requestCallback<_lockstep_v1_ProgressAck__Output>): grpc.ClientUnaryCall;
  
  Stop(argument: _lockstep_v1_StopRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _lockstep_v1_StopRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _lockstep_v1_StopRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  Stop(argument: _lockstep_v1_StopRequest, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _lockstep_v1_StopRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _lockstep_v1_StopRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _lockstep_v1_StopRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  stop(argument: _lockstep_v1_StopRequest, callback: grpc.requestCallback<_lockstep_v1_StopReply__Output>): grpc.ClientUnaryCall;
  
}

export interface ControlHandlers extends grpc.UntypedServiceImplementation {
  Ask: grpc.handleUnaryCall<_lockstep_v1_AskRequest__Output, _lockstep_v1_AskReply>;
  
  GetStatus: grpc.handleUnaryCall<_lockstep_v1_StatusRequest__Output, _lockstep_v1_StatusReply>;
  
  ReportProgress: grpc.handleUnaryCall<_lockstep_v1_ProgressReport__Output, _lockstep_v1_ProgressAck>;
  
  Stop: grpc.handleUnaryCall<_lockstep_v1_StopRequest__Output, _lockstep_v1_StopReply>;
  
}

export interface ControlDefinition extends grpc.ServiceDefinition {
  Ask: MethodDefinition<_lockstep_v1_AskRequest, _lockstep_v1_AskReply, _lockstep_v1_AskRequest__Output, _lockstep_v1_AskReply__Output>
  GetStatus: MethodDefinition<_lockstep_v1_StatusRequest, _lockstep_v1_StatusReply, _lockstep_v1_StatusRequest__Output, _lockstep_v1_StatusReply__Output>
  ReportProgress: MethodDefinition<_lockstep_v1_ProgressReport, _lockstep_v1_ProgressAck, _lockstep_v1_ProgressReport__Output, _lockstep_v1_ProgressAck__Output>
  Stop: MethodDefinition<_lockstep_v1_StopRequest, _lockstep_v1_StopReply, _lockstep_v1_StopRequest__Output, _lockstep_v1_StopReply__Output>
}
