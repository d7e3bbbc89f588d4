// Original file: proto/lockstep/v1/control.proto

import type { Long } from '@grpc/proto-loader';

export interface ProgressReport {
  'workerId'?: (string);
  'generation'?: (number);
  'epoch'?: (number);
  'step'?: (number | string | Long);
  'stepInEpoch'?: (number);
  'samplesPerSecond'?: (number | string);
  'metrics'?: ({[key: string]: number | string});
  'leaseHeld'?: (boolean);
}

export interface ProgressReport__Output {
  'workerId': (string);
  'generation': (number);
  'epoch': (number);
  'step': (number);
  'stepInEpoch': (number);
  'samplesPerSecond': (number);
  'metrics': ({[key: string]: number});
  'leaseHeld': (boolean);
}
