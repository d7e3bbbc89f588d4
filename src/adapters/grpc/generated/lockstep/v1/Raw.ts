// Original file: proto/lockstep/v1/collective.proto


export interface Raw {
}

export interface Raw__Output {
}
