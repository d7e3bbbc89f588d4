// Original file: proto/lockstep/v1/control.proto


export interface AskRequest {
  'workers'?: (number);
  'drain'?: (string);
  'restart'?: (string);
  'wish'?: "workers"|"drain"|"restart";
}

export interface AskRequest__Output {
  'workers'?: (number);
  'drain'?: (string);
  'restart'?: (string);
  'wish'?: "workers"|"drain"|"restart";
}
