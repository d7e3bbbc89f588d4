// Original file: proto/lockstep/v1/checkpoints.proto

import type { Long } from '@grpc/proto-loader';

export interface KeepRequest {
  'run'?: (string);
  'id'?: (string);
  'manifestSha256'?: (string);
  'address'?: (string);
  'era'?: (number);
  'fencingToken'?: (number | string | Long);
}

export interface KeepRequest__Output {
  'run': (string);
  'id': (string);
  'manifestSha256': (string);
  'address': (string);
  'era': (number);
  'fencingToken': (number);
}
