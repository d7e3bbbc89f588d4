// Original file: proto/lockstep/v1/collective.proto


export interface SubscribeRequest {
  'generation'?: (number);
  'rank'?: (number);
  'workerId'?: (string);
  'expectedWorkerId'?: (string);
  'observer'?: (boolean);
  'address'?: (string);
}

export interface SubscribeRequest__Output {
  'generation': (number);
  'rank': (number);
  'workerId': (string);
  'expectedWorkerId': (string);
  'observer': (boolean);
  'address': (string);
}
