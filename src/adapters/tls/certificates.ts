/** Certificates in a folder, as a Kubernetes TLS secret names them: `ca.crt` (whom to trust), `tls.crt` and `tls.key`. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { type Identity, identityIn } from "../../core/identity.ts";

export const fileNames = { ca: "ca.crt", certificate: "tls.crt", key: "tls.key" } as const;

/** The three files, as they were read. */
export interface CertificateTexts {
  /** PEM of one authority or, while one takes over from another, of both. */
  readonly ca: string;
  /** PEM of the certificate, and of intermediate ones after it. */
  readonly certificate: string;
  readonly key: string;
}

/** Three files that belong together. */
export interface Certificates extends CertificateTexts {
  readonly identity: Identity;
  readonly fromMs: number;
  readonly untilMs: number;
}

export async function readTexts(folder: string): Promise<CertificateTexts> {
  const read = async (name: string) => {
    const file = join(folder, name);
    return readFile(file, "utf8").catch((cause: unknown) => {
      throw badCertificate(`${file} cannot be read: ${messageOf(cause)}.`, {
        hint: `A folder for --tls has ${Object.values(fileNames).join(", ")}; \`lockstep certs issue\` makes one.`,
        cause,
      });
    });
  };
  // One after the other: which of several is missing is the same every time.
  const ca = await read(fileNames.ca);
  const certificate = await read(fileNames.certificate);
  const key = await read(fileNames.key);
  return { ca, certificate, key };
}

/** Throws "bad-certificate" unless the key is the certificate's, and an authority that is trusted has signed it. */
export function checkCertificates(texts: CertificateTexts, folder: string, nowMs: number): Certificates {
  const authorities = parse(texts.ca, join(folder, fileNames.ca));
  const [own, ...others] = parse(texts.certificate, join(folder, fileNames.certificate));
  const file = join(folder, fileNames.certificate);
  if (!ownsKey(own!, texts.key, join(folder, fileNames.key))) {
    throw badCertificate(`${join(folder, fileNames.key)} is not the key of ${file}.`, {
      hint: "The two are made together: take both from one place.",
    });
  }
  if (!isTrusted(own!, others, authorities)) {
    throw badCertificate(`${file} was signed by none of the authorities in ${join(folder, fileNames.ca)}.`, {
      hint: "All processes of a cluster have certificates of one authority; see docs/security.md on how to change it.",
    });
  }
  const fromMs = Date.parse(own!.validFrom);
  const untilMs = Date.parse(own!.validTo);
  if (untilMs <= nowMs) {
    throw badCertificate(`${file} was valid until ${new Date(untilMs).toISOString()}, which is over.`, {
      hint: "Issue it anew: `lockstep certs rotate`.",
    });
  }
  if (fromMs > nowMs) {
    throw badCertificate(`${file} is valid from ${new Date(fromMs).toISOString()} on, which is to come.`, {
      hint: "Look at the clocks of this machine and of the one that issued it.",
    });
  }
  const identity = identityIn(own!.subjectAltName);
  if (identity === null) {
    throw badCertificate(`${file} does not say whose it is; its names are ${own!.subjectAltName ?? "none"}.`, {
      hint: "One URI such as spiffe://lockstep/job/JOB/worker/NAME was expected among them; see docs/security.md.",
    });
  }
  return { ...texts, identity, fromMs, untilMs };
}

/** The certificates of a PEM file, at least one. */
export function parse(text: string, file: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length === 0) throw new Error("it has no PEM certificate");
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw badCertificate(`${file} is no certificate: ${messageOf(cause)}.`, { cause });
  }
}

function ownsKey(certificate: X509Certificate, key: string, file: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw badCertificate(`${file} is no private key: ${messageOf(cause)}.`, {
      hint: "A PEM key without a passphrase was expected.",
      cause,
    });
  }
}

/** Whether a chain of signatures leads from it to an authority. */
function isTrusted(
  certificate: X509Certificate,
  between: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): boolean {
  const hasSigned = (issuer: X509Certificate) =>
    certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  if (authorities.some(hasSigned)) return true;
  const next = between.find(hasSigned);
  return (
    next !== undefined &&
    isTrusted(
      next,
      between.filter((other) => other !== next),
      authorities,
    )
  );
}

export function badCertificate(message: string, options: { hint?: string; cause?: unknown } = {}): LockstepError {
  return new LockstepError("bad-certificate", message, options);
}
