// Original file: proto/lockstep/v1/checkpoints.proto


export interface FetchRequest {
  'run'?: (string);
  'id'?: (string);
  'file'?: (string);
}

export interface FetchRequest__Output {
  'run': (string);
  'id': (string);
  'file': (string);
}
