// Original file: proto/lockstep/v1/control.proto


export interface StatusReply {
  'statusJson'?: (string);
}

export interface StatusReply__Output {
  'statusJson': (string);
}
