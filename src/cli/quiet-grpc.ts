/**
 * Imported before everything else: gRPC writes lines of its own to standard error for failures that it also reports to
 * its caller, who says them in a sentence. The variable reaches threads and children too; a user's own setting wins.
 */
process.env.GRPC_VERBOSITY ??= "NONE";

/**
 * gRPC tells a server the address that it calls as the name that it means, which TLS has for names alone, and etcd's client
 * leaves no choice. No server minds; Node warns of it in every process.
 */
const serverNameIsAddress = "DEP0123";
const emitWarning = process.emitWarning;
process.emitWarning = ((...words: Parameters<typeof emitWarning>) => {
  if (!(words as readonly unknown[]).includes(serverNameIsAddress)) emitWarning.apply(process, words);
}) as typeof emitWarning; // of its overloads TypeScript sees the last
