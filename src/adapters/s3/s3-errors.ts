/** What object storage answers, as sentences. Nothing of a request but its address is ever told: no keys, no signatures. */
import { LockstepError, messageOf } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";

export interface S3Place {
  readonly bucket: string;
  /** Of the service, without credentials; null for AWS itself. */
  readonly endpoint: string | null;
}

/** The service's name for what went wrong, such as "NoSuchBucket"; or the system's, such as "ECONNREFUSED". */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { Code, code } = error as { Code?: unknown; code?: unknown };
  if (typeof Code === "string") return Code;
  return typeof code === "string" && error.name === "Error" ? code : error.name;
}

export function statusOf(error: unknown): number | null {
  const metadata = (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata;
  return metadata?.httpStatusCode ?? null;
}

/** By the service's own word for it: a 404 alone may mean the bucket, or whoever asks. */
export function isAbsentObject(error: unknown): boolean {
  return ["NoSuchKey", "NotFound"].includes(codeOf(error));
}

const credentials =
  "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE, as for every AWS tool.";

interface Finding {
  readonly codes: readonly string[];
  readonly says: (place: S3Place) => string;
  readonly hint: string;
}

const serviceOf = ({ endpoint }: S3Place) => endpoint ?? "AWS S3";

const findings: readonly Finding[] = [
  {
    codes: ["NoSuchBucket"],
    says: (place) => `there is no bucket "${place.bucket}" at ${serviceOf(place)}`,
    hint: "Make the bucket, or give another one (--checkpoints s3://BUCKET/PREFIX); AWS_ENDPOINT_URL names another service.",
  },
  {
    codes: ["CredentialsProviderError"],
    says: () => "there are no credentials for it",
    hint: credentials,
  },
  {
    codes: ["AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem"],
    says: (place) => `${serviceOf(place)} denies the access`,
    hint: "Allow these credentials s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject in it.",
  },
  {
    codes: ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"],
    says: (place) => `${serviceOf(place)} does not accept the credentials`,
    hint: credentials,
  },
  {
    codes: ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"],
    says: ({ bucket }) => `the bucket "${bucket}" is in another region`,
    hint: "Let AWS_REGION name the region of the bucket.",
  },
  {
    codes: ["NotImplemented", "MethodNotAllowed"],
    says: (place) => `${serviceOf(place)} does not do what lockstep needs`,
    hint: "lockstep needs an S3 service with conditional writes (If-None-Match) and multipart uploads.",
  },
  {
    codes: [
      "ECONNREFUSED",
      "ENOTFOUND",
      "EAI_AGAIN",
      "EHOSTUNREACH",
      "ECONNRESET",
      "EPIPE",
      "TimeoutError",
      "AggregateError",
    ],
    says: (place) => `${serviceOf(place)} cannot be reached`,
    hint: "Look at the network, and at AWS_ENDPOINT_URL, which names the service where it is not AWS itself.",
  },
  {
    codes: ["SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout"],
    says: (place) => `${serviceOf(place)} is overloaded or out of order`,
    hint: "What was published before is not touched; lockstep tries again.",
  },
  {
    codes: ["QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"],
    says: (place) => `${serviceOf(place)} has no space left for it`,
    hint: "Free space there, or give another bucket (--checkpoints).",
  },
];

/** Runs one or more calls to the service, and says of their errors what could not be done with which object. */
export async function accessing<T>(
  problem: "unreadable" | "unwritable",
  place: S3Place,
  location: string,
  calls: () => Promise<T>,
): Promise<T> {
  try {
    return await calls();
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw s3Error(problem, place, location, error);
  }
}

/** What the service's error means, and what to do; null where it is none that is known. `says` has the service's own word for it. */
export function explained(place: S3Place, cause: unknown): { readonly says: string; readonly hint: string } | null {
  const code = codeOf(cause);
  const status = statusOf(cause);
  const name = status === 403 && !findings.some(({ codes }) => codes.includes(code)) ? "AccessDenied" : code;
  const finding = findings.find(({ codes }) => codes.includes(name));
  const detail = detailOf(cause);
  return finding === undefined ? null : { says: `${finding.says(place)} (${detail})`, hint: finding.hint };
}

function detailOf(cause: unknown): string {
  const status = statusOf(cause);
  return [codeOf(cause), status === null ? "" : `HTTP ${status}`].filter((part) => part !== "").join(", ");
}

function s3Error(
  problem: "unreadable" | "unwritable",
  place: S3Place,
  location: string,
  cause: unknown,
): CheckpointError {
  const action = problem === "unreadable" ? "read" : "write";
  const known = explained(place, cause);
  const says = known?.says ?? `${messageOf(cause).replace(/\.$/, "")} (${detailOf(cause)})`;
  return new CheckpointError(problem, `Cannot ${action} ${location}: ${says}.`, {
    hint: known?.hint ?? "Look at the service's own log; what was published before is not touched.",
    cause,
  });
}
