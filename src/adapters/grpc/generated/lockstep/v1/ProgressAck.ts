// Original file: proto/lockstep/v1/control.proto


export interface ProgressAck {
}

export interface ProgressAck__Output {
}
