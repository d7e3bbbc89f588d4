// Original file: proto/lockstep/v1/control.proto


export interface StatusReply {
  'statusJson'?: (string);
  'historyEdition'?: (string);
  'historyFrom'?: (number);
}

export interface StatusReply__Output {
  'statusJson': (string);
  'historyEdition': (string);
  'historyFrom': (number);
}
