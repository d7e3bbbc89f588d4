// Original file: proto/lockstep/v1/control.proto


export interface StatusRequest {
  'historyEdition'?: (string);
  'historyEpochs'?: (number);
}

export interface StatusRequest__Output {
  'historyEdition': (string);
  'historyEpochs': (number);
}
