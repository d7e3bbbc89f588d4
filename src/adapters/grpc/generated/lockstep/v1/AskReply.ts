// Original file: proto/lockstep/v1/control.proto


export interface AskReply {
}

export interface AskReply__Output {
}
