#!/usr/bin/env node
import { builtModule } from "./build.mjs";

await import(await builtModule("cli/main"));
