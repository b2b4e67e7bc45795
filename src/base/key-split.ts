const WORD = /^\p{L}+$/u;
const HASH_32 = /^[a-f0-9]{32}/;
/** Dask looks at the first letter alone: `x-abcdefgh` counts as hashed, too. */
const HASH_8 = /^[a-f].{7}$/u;

/**
 * The name under which Dask counts tasks together: the prefix of a key (the rules of `dask.utils.key_split`).
 * `text` is a string key, or the first part of a tuple key.
 */
export function keySplit(text: string): string {
  const words = text.split("-");
  const first = words[0]!;
  if (first === "") return "Other";
  let result = /^\p{L}/u.test(first) ? first : first.split(",")[0]!.replace(/^[_'()"]+|[_'()"]+$/g, "");
  for (const word of words.slice(1)) {
    if (!WORD.test(word) || HASH_8.test(word)) break;
    result += `-${word}`;
  }
  if (result.length === 32 && HASH_32.test(result)) return "data";
  if (result.startsWith("<")) {
    const inner = result.replace(/^[<>]+|[<>]+$/g, "").trim();
    return inner === "" ? "Other" : inner.split(/\s+/)[0]!.split(".").at(-1)!;
  }
  return result === "" ? "Other" : result;
}
