/** `lockstep doctor`: what this machine has, and what to do about what it lacks. */
import { diagnose } from "../adapters/system/doctor.ts";
import type { Command } from "./command.ts";

export const doctor: Command = {
  name: "doctor",
  summary: "Check this machine: engine, devices, threads, Node, etcd.",
  argument: null,
  options: {},
  details: "Downloads and changes nothing. Exit code 1 when something is missing that training needs.",
  async run() {
    const findings = await diagnose();
    const width = Math.max(...findings.map(({ what }) => what.length));
    for (const { what, ok, value, advice } of findings) {
      const mark = ok === true ? "ok  " : ok === "warning" ? "warn" : "FAIL";
      process.stdout.write(`${mark}  ${what.padEnd(width)}  ${value}\n`);
      if (advice) process.stdout.write(`      ${" ".repeat(width)}  → ${advice}\n`);
    }
    return findings.some(({ ok }) => ok === false) ? 1 : 0;
  },
};
