/** Wrong usage: one line that says what to change, exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The scheduler cannot start: one line that says why, exit status 1. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** `--help` or `--version`: the message is what to print, exit status 0. */
export class InformationRequest extends Error {
  override readonly name = "InformationRequest";
}
