// Original file: proto/lockstep/v1/checkpoints.proto


export interface FilePart {
}

export interface FilePart__Output {
}
