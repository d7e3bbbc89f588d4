/** `lockstep certs`: a cluster's certificate authority, and the certificates of its processes. */
import type { CommandGroup } from "./command.ts";

export const certs: CommandGroup = {
  name: "certs",
  summary: "Make a cluster's authority, and certificates for its processes.",
  commands: {
    init: async () => (await import("./certs/init.ts")).certsInit,
    issue: async () => (await import("./certs/issue.ts")).certsIssue,
    rotate: async () => (await import("./certs/rotate.ts")).certsRotate,
  },
  details: "docs/security.md says who needs which, and how they are replaced while a cluster runs.",
};
