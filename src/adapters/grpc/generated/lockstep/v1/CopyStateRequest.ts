// Original file: proto/lockstep/v1/collective.proto

import type { Long } from '@grpc/proto-loader';

export interface CopyStateRequest {
  'generation'?: (number);
  'step'?: (number | string | Long);
  'anyStep'?: (boolean);
}

export interface CopyStateRequest__Output {
  'generation': (number);
  'step': (number);
  'anyStep': (boolean);
}
