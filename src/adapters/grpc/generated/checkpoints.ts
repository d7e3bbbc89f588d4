import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { CheckpointsClient as _lockstep_v1_CheckpointsClient, CheckpointsDefinition as _lockstep_v1_CheckpointsDefinition } from './lockstep/v1/Checkpoints.ts';
import type { FetchRequest as _lockstep_v1_FetchRequest, FetchRequest__Output as _lockstep_v1_FetchRequest__Output } from './lockstep/v1/FetchRequest.ts';
import type { FilePart as _lockstep_v1_FilePart, FilePart__Output as _lockstep_v1_FilePart__Output } from './lockstep/v1/FilePart.ts';
import type { KeepProgress as _lockstep_v1_KeepProgress, KeepProgress__Output as _lockstep_v1_KeepProgress__Output } from './lockstep/v1/KeepProgress.ts';
import type { KeepRequest as _lockstep_v1_KeepRequest, KeepRequest__Output as _lockstep_v1_KeepRequest__Output } from './lockstep/v1/KeepRequest.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lockstep: {
    v1: {
      Checkpoints: SubtypeConstructor<typeof grpc.Client, _lockstep_v1_CheckpointsClient> & { service: _lockstep_v1_CheckpointsDefinition }
      FetchRequest: MessageTypeDefinition<_lockstep_v1_FetchRequest, _lockstep_v1_FetchRequest__Output>
      FilePart: MessageTypeDefinition<_lockstep_v1_FilePart, _lockstep_v1_FilePart__Output>
      KeepProgress: MessageTypeDefinition<_lockstep_v1_KeepProgress, _lockstep_v1_KeepProgress__Output>
      KeepRequest: MessageTypeDefinition<_lockstep_v1_KeepRequest, _lockstep_v1_KeepRequest__Output>
    }
  }
}

