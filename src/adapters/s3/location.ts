import { LockstepError } from "../../core/errors.ts";

/** Where checkpoints are in object storage: `s3://bucket` or `s3://bucket/prefix`. */
export interface S3Location {
  readonly bucket: string;
  /** "" or "a/b", without a slash at either end. */
  readonly prefix: string;
}

export function isS3Location(text: string): boolean {
  return /^s3:/i.test(text);
}

export function parseS3Location(text: string): S3Location {
  const [, bucket = "", prefix = ""] = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:\/(.*?))?\/?$/.exec(text) ?? [];
  const isPlain = prefix === "" || prefix.split("/").every((part) => /^[\w.=+@ -]+$/.test(part) && !/^\.+$/.test(part));
  if (bucket === "" || !isPlain) {
    throw new LockstepError(
      "usage",
      `${JSON.stringify(text)} is no place in object storage; s3://BUCKET/PREFIX was expected.`,
      {
        hint: "A prefix has letters, digits and _.=+@- between its slashes.",
      },
    );
  }
  return { bucket, prefix };
}

export function formatS3Location({ bucket, prefix }: S3Location): string {
  return prefix === "" ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
}
