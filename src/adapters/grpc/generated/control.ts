import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { AskReply as _lockstep_v1_AskReply, AskReply__Output as _lockstep_v1_AskReply__Output } from './lockstep/v1/AskReply.ts';
import type { AskRequest as _lockstep_v1_AskRequest, AskRequest__Output as _lockstep_v1_AskRequest__Output } from './lockstep/v1/AskRequest.ts';
import type { ControlClient as _lockstep_v1_ControlClient, ControlDefinition as _lockstep_v1_ControlDefinition } from './lockstep/v1/Control.ts';
import type { ProgressAck as _lockstep_v1_ProgressAck, ProgressAck__Output as _lockstep_v1_ProgressAck__Output } from './lockstep/v1/ProgressAck.ts';
import type { ProgressReport as _lockstep_v1_ProgressReport, ProgressReport__Output as _lockstep_v1_ProgressReport__Output } from './lockstep/v1/ProgressReport.ts';
import type { StatusReply as _lockstep_v1_StatusReply, StatusReply__Output as _lockstep_v1_StatusReply__Output } from './lockstep/v1/StatusReply.ts';
import type { StatusRequest as _lockstep_v1_StatusRequest, StatusRequest__Output as _lockstep_v1_StatusRequest__Output } from './lockstep/v1/StatusRequest.ts';
import type { StopReply as _lockstep_v1_StopReply, StopReply__Output as _lockstep_v1_StopReply__Output } from './lockstep/v1/StopReply.ts';
import type { StopRequest as _lockstep_v1_StopRequest, StopRequest__Output as _lockstep_v1_StopRequest__Output } from './lockstep/v1/StopRequest.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lockstep: {
    v1: {
      AskReply: MessageTypeDefinition<_lockstep_v1_AskReply, _lockstep_v1_AskReply__Output>
      AskRequest: MessageTypeDefinition<_lockstep_v1_AskRequest, _lockstep_v1_AskRequest__Output>
      Control: SubtypeConstructor<typeof grpc.Client, _lockstep_v1_ControlClient> & { service: _lockstep_v1_ControlDefinition }
      ProgressAck: MessageTypeDefinition<_lockstep_v1_ProgressAck, _lockstep_v1_ProgressAck__Output>
      ProgressReport: MessageTypeDefinition<_lockstep_v1_ProgressReport, _lockstep_v1_ProgressReport__Output>
      StatusReply: MessageTypeDefinition<_lockstep_v1_StatusReply, _lockstep_v1_StatusReply__Output>
      StatusRequest: MessageTypeDefinition<_lockstep_v1_StatusRequest, _lockstep_v1_StatusRequest__Output>
      StopReply: MessageTypeDefinition<_lockstep_v1_StopReply, _lockstep_v1_StopReply__Output>
      StopRequest: MessageTypeDefinition<_lockstep_v1_StopRequest, _lockstep_v1_StopRequest__Output>
    }
  }
}

