// Original file: proto/lockstep/v1/checkpoints.proto

import type { Long } from '@grpc/proto-loader';

export interface KeepProgress {
  'receivedBytes'?: (number | string | Long);
}

export interface KeepProgress__Output {
  'receivedBytes': (number);
}
