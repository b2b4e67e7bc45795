/**
 * Calls `stop` when the seconds are over or the signal comes, whichever is first; null: only the signal counts. The answer
 * lets go of both.
 */
export function stopAfter(seconds: number | null, signal: AbortSignal, stop: () => void): () => void {
  const timer = seconds === null ? undefined : setTimeout(() => end(), seconds * 1e3);
  const release = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  };
  const end = (): void => {
    release();
    stop();
  };
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  return release;
}
