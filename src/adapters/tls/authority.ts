/** A cluster's certificate authority: a folder with `ca.crt` and `ca.key`, and the certificates that it signs. */
// What @peculiar/x509 is built on wants it loaded first.
import "reflect-metadata";
import { createPrivateKey, KeyObject, randomBytes, webcrypto, type X509Certificate } from "node:crypto";
import { chmod, mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate as IssuerCertificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { type Identity, identityUri } from "../../core/identity.ts";
import { badCertificate, type CertificateTexts, fileNames, parse } from "./certificates.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const keyFile = "ca.key";
const dayMs = 24 * 3600 * 1000;
/** So far back certificates are valid, for machines whose clocks are late. */
const clockSkewMs = 5 * 60_000;
/** Who may read a key. */
const ownerOnly = 0o600;

/** Whom a certificate is for. */
export type Subject =
  | { readonly kind: "process"; readonly identity: Identity }
  /** A member of etcd, which is known by where it is reached: names and IP addresses. */
  | { readonly kind: "etcd"; readonly name: string; readonly hosts: readonly string[] };

/** What stands in a certificate, so that another one can say the same. */
export interface Names {
  readonly commonName: string;
  readonly uris: readonly string[];
  /** DNS names and IP addresses. */
  readonly hosts: readonly string[];
  /** A process that others call. */
  readonly serves: boolean;
}

export class Authority {
  /** PEM: its own certificate and, while it takes over from another or hands over, that one's. */
  readonly certificates: string;
  readonly #certificate: IssuerCertificate;
  readonly #key: webcrypto.CryptoKey;

  private constructor(certificates: string, certificate: IssuerCertificate, key: webcrypto.CryptoKey) {
    this.certificates = certificates;
    this.#certificate = certificate;
    this.#key = key;
  }

  /** Makes one in a folder that has none. */
  static async init(folder: string, days: number): Promise<Authority> {
    for (const name of [fileNames.ca, keyFile]) {
      if ((await stat(join(folder, name)).catch(() => null)) === null) continue;
      throw new LockstepError("usage", `There is an authority in ${folder} already: ${name} is there.`, {
        hint: "Certificates that it has signed would be worth nothing without it; name another folder.",
      });
    }
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      ...times(days),
      serialNumber: newSerial(),
      // Each has a name of its own, so that two in one file are told apart.
      name: [{ CN: [`lockstep authority ${randomBytes(4).toString("hex")}`] }],
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    await makeFolder(folder);
    const text = `${certificate.toString("pem")}\n`;
    await writeWhole(join(folder, keyFile), pemOf(keys.privateKey), ownerOnly);
    await writeWhole(join(folder, fileNames.ca), text, 0o644);
    return new Authority(text, certificate, keys.privateKey);
  }

  static async open(folder: string): Promise<Authority> {
    const read = (name: string) =>
      readFile(join(folder, name), "utf8").catch((cause: unknown) => {
        throw new LockstepError("usage", `There is no authority in ${folder}: ${messageOf(cause)}.`, {
          hint: "`lockstep certs init DIR` makes one; --authority names its folder.",
          cause,
        });
      });
    const certificates = await read(fileNames.ca);
    const keyText = await read(keyFile);
    const file = join(folder, keyFile);
    const own = (key: KeyObject) =>
      parse(certificates, join(folder, fileNames.ca)).find((one) => one.checkPrivateKey(key));
    try {
      const key = createPrivateKey(keyText);
      const certificate = own(key);
      if (certificate === undefined) throw new Error(`it is the key of no certificate in ${fileNames.ca}`);
      const pkcs8 = key.export({ format: "der", type: "pkcs8" });
      const signing = await webcrypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
      return new Authority(certificates, new IssuerCertificate(certificate.raw), signing);
    } catch (cause) {
      throw badCertificate(`${file} cannot be used: ${messageOf(cause)}.`, {
        hint: "A P-256 key as `lockstep certs init` makes it was expected.",
        cause,
      });
    }
  }

  /** A new key, and a certificate for it that says these names. */
  async issue(names: Names, days: number): Promise<CertificateTexts> {
    const untilMs = this.#certificate.notAfter.getTime();
    if (Date.now() + days * dayMs > untilMs) {
      throw new LockstepError(
        "usage",
        `The authority is valid until ${this.#certificate.notAfter.toISOString()}: it cannot sign for ${days} days.`,
        { hint: "Give fewer --days, or make another authority; docs/security.md says how to change it." },
      );
    }
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const uses = [ExtendedKeyUsage.clientAuth, ...(names.serves ? [ExtendedKeyUsage.serverAuth] : [])];
    const certificate = await X509CertificateGenerator.create({
      ...times(days),
      serialNumber: newSerial(),
      subject: [{ CN: [names.commonName] }],
      issuer: this.#certificate.subjectName,
      publicKey: keys.publicKey,
      signingKey: this.#key,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(uses),
        new SubjectAlternativeNameExtension([
          ...names.uris.map((value) => ({ type: "url", value }) as const),
          ...names.hosts.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const),
        ]),
        await AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { ca: this.certificates, certificate: `${certificate.toString("pem")}\n`, key: pemOf(keys.privateKey) };
  }
}

export function namesOf(subject: Subject): Names {
  if (subject.kind === "etcd") {
    return { commonName: subject.name, uris: [], hosts: subject.hosts, serves: true };
  }
  const { identity } = subject;
  return {
    // etcd takes it for the user's name, where its users are switched on: see docs/security.md.
    commonName: identity.job ?? "root",
    uris: [identityUri(identity)],
    hosts: [],
    serves: identity.role !== "operator",
  };
}

/** What a certificate says, for one that is to say the same; and for how many days it was made. */
export function namesIn(certificate: X509Certificate): Names & { readonly days: number } {
  const names = new IssuerCertificate(certificate.raw);
  const alternatives = names.getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
  const values = (...types: readonly string[]) =>
    alternatives.filter(({ type }) => types.includes(type)).map(({ value }) => value);
  const uses = names.getExtension(ExtendedKeyUsageExtension)?.usages ?? [];
  return {
    commonName: names.subjectName.getField("CN")[0] ?? "",
    uris: values("url"),
    hosts: values("dns", "ip"),
    serves: uses.includes(ExtendedKeyUsage.serverAuth),
    days: Math.max(1, Math.round((names.notAfter.getTime() - names.notBefore.getTime()) / dayMs)),
  };
}

/** Each file is replaced as a whole, the key first: whoever reads in between sees that they do not belong together. */
export async function writeCertificates(folder: string, { ca, certificate, key }: CertificateTexts): Promise<void> {
  await makeFolder(folder);
  await writeWhole(join(folder, fileNames.key), key, ownerOnly);
  await writeWhole(join(folder, fileNames.certificate), certificate, 0o644);
  await writeWhole(join(folder, fileNames.ca), ca, 0o644);
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw new LockstepError("usage", `The folder ${folder} cannot be made: ${messageOf(cause)}.`, { cause });
  });
}

async function writeWhole(file: string, text: string, mode: number): Promise<void> {
  const staged = `${file}.${process.pid}`;
  const handle = await open(staged, "w", mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // The mode above is only for a file that was not there.
  await chmod(staged, mode);
  await rename(staged, file);
}

function pemOf(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ format: "pem", type: "pkcs8" }).toString();
}

function times(days: number): { readonly notBefore: Date; readonly notAfter: Date } {
  const nowMs = Date.now();
  return { notBefore: new Date(nowMs - clockSkewMs), notAfter: new Date(nowMs + days * dayMs) };
}

/** Positive, and never the same twice. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString("hex");
}
