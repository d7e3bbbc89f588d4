// Saves what a member of etcd holds, as `etcdctl snapshot save` does, for where there is no etcdctl:
//
//   node deploy/local/etcd-snapshot.mjs https://HOST:2379 CERTS FILE
//
// CERTS is the folder of an operator's certificate. etcd ends the file with the SHA-256 of what comes before; the file
// appears only once that was compared.
import { createHash } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Etcd3 } from "etcd3";

const hashBytes = 32;
const silenceLimitMs = 30_000;
const [endpoint, folder, file] = process.argv.slice(2);

const read = (name) => readFile(join(folder, name));
const [rootCertificate, certChain, privateKey] = await Promise.all(["ca.crt", "tls.crt", "tls.key"].map(read));
const client = new Etcd3({
  hosts: endpoint,
  credentials: { rootCertificate, certChain, privateKey },
  grpcOptions: { "grpc.max_receive_message_length": -1, "grpc.enable_http_proxy": 0 },
});
const unfinished = `${file}.${process.pid}`;
try {
  const whole = await receive(await client.maintenance.snapshot());
  const data = whole.subarray(0, -hashBytes);
  const isWhole = createHash("sha256").update(data).digest().equals(whole.subarray(-hashBytes));
  if (!isWhole) throw new Error("what came is not what etcd has hashed");
  const handle = await open(unfinished, "wx", 0o600);
  await handle.writeFile(whole);
  await handle.sync();
  await handle.close();
  await rename(unfinished, file);
  process.stdout.write(`Saved: ${file}, ${data.length} bytes\n`);
} catch (error) {
  process.stderr.write(`etcd at ${endpoint} gave no snapshot: ${error.message}\n`);
  process.exitCode = 6;
} finally {
  await rm(unfinished, { force: true });
  client.close();
}

/** All of a stream's bytes: what lockstep keeps in etcd fits into memory many times over. */
function receive(stream) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const limit = setTimeout(() => reject(new Error(`nothing came for ${silenceLimitMs / 1000} s`)), silenceLimitMs);
    stream.on("data", ({ blob }) => {
      parts.push(blob);
      limit.refresh();
    });
    stream.on("error", (error) => {
      clearTimeout(limit);
      reject(error);
    });
    stream.on("end", () => {
      clearTimeout(limit);
      resolve(Buffer.concat(parts));
    });
  });
}
