// Generates the TypeScript types of proto/ with proto-loader's own generator; a test checks that they are current.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = process.argv[2] ?? "src/adapters/grpc/generated";
execFileSync(
  `${root}node_modules/.bin/proto-loader-gen-types`,
  [
    "--longs=Number",
    "--enums=String",
    "--defaults",
    "--oneofs",
    "--grpcLib=@grpc/grpc-js",
    "--importFileExtension=.ts",
    "--includeDirs",
    "proto",
    "--outDir",
    out,
    "lockstep/v1/control.proto",
    "lockstep/v1/collective.proto",
    "lockstep/v1/checkpoints.proto",
  ],
  { cwd: root, stdio: "inherit" },
);
