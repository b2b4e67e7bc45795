/** What tells of progress, a line each: on stderr, unless the user wants none. */
export function sayer(quiet: boolean, stderr: { write(text: string): unknown }): (text: string) => void {
  return quiet ? () => undefined : (text) => stderr.write(`${text}\n`);
}
