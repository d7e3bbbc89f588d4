/** What gRPC says of a failure, as part of a sentence: without what it has around the reason, and its empty "resolution note". */
export function plainReason(text: string): string {
  return text
    .replace(/No connection established\. Last error: (Error: )?/, "")
    .replace(/\.?( Resolution note:)?\s*$/, "");
}
