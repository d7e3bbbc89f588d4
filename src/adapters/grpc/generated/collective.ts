import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { CollectiveClient as _lockstep_v1_CollectiveClient, CollectiveDefinition as _lockstep_v1_CollectiveDefinition } from './lockstep/v1/Collective.ts';
import type { CopyStateRequest as _lockstep_v1_CopyStateRequest, CopyStateRequest__Output as _lockstep_v1_CopyStateRequest__Output } from './lockstep/v1/CopyStateRequest.ts';
import type { Raw as _lockstep_v1_Raw, Raw__Output as _lockstep_v1_Raw__Output } from './lockstep/v1/Raw.ts';
import type { SubscribeRequest as _lockstep_v1_SubscribeRequest, SubscribeRequest__Output as _lockstep_v1_SubscribeRequest__Output } from './lockstep/v1/SubscribeRequest.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  lockstep: {
    v1: {
      Collective: SubtypeConstructor<typeof grpc.Client, _lockstep_v1_CollectiveClient> & { service: _lockstep_v1_CollectiveDefinition }
      CopyStateRequest: MessageTypeDefinition<_lockstep_v1_CopyStateRequest, _lockstep_v1_CopyStateRequest__Output>
      Raw: MessageTypeDefinition<_lockstep_v1_Raw, _lockstep_v1_Raw__Output>
      SubscribeRequest: MessageTypeDefinition<_lockstep_v1_SubscribeRequest, _lockstep_v1_SubscribeRequest__Output>
    }
  }
}

