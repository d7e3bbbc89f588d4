/**
 * Imported before everything else: gRPC writes lines of its own to standard error for failures that it also reports to
 * its caller, who says them in a sentence. The variable reaches threads and children too; a user's own setting wins.
 */
process.env.GRPC_VERBOSITY ??= "NONE";
