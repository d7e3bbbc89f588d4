#!/usr/bin/env node
// Job files and lockstep itself are TypeScript; tsx loads both, on every supported Node, without a build.
import { register } from "tsx/esm/api";

register();
await import("../src/cli/main.ts");
