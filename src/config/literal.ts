import type { ConfigMap, ConfigValue } from "./tree.ts";

/** Nesting of a value; an environment variable is no place for more. */
const DEPTH_MAX = 32;

/**
 * The value of an environment variable as Dask reads it (`dask.config.interpret_value`): a Python literal, else one of
 * none, null, true, false in any case, else the text itself.
 */
export function interpretValue(text: string): ConfigValue {
  const value = pythonLiteral(text);
  if (value !== undefined) return value;
  const word = text.toLowerCase();
  return WORDS.has(word) ? (WORDS.get(word) ?? null) : text;
}

const WORDS = new Map<string, ConfigValue>([
  ["none", null],
  ["null", null],
  ["false", false],
  ["true", true],
]);

/** What `ast.literal_eval` makes of numbers, strings, True, False, None, lists, tuples, sets and dicts, or undefined. */
function pythonLiteral(text: string): ConfigValue | undefined {
  try {
    return new LiteralReader(text).whole();
  } catch (error) {
    if (error instanceof NotLiteral) return undefined;
    throw error;
  }
}

class NotLiteral extends Error {
  override readonly name = "NotLiteral";
}

const NUMBER =
  /[+-]?\s*(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)/y;
const STRING = /[rRuU]?(?:'((?:[^'\\\n]|\\[\s\S])*)'|"((?:[^"\\\n]|\\[\s\S])*)")/y;
const NAME = /(?:True|False|None)\b/y;
const SPACE = /\s*/y;
const CLOSING = new Map([
  ["(", ")"],
  ["[", "]"],
  ["{", "}"],
]);
const ESCAPES = new Map([
  ["n", "\n"],
  ["t", "\t"],
  ["r", "\r"],
  ["\n", ""],
]);

/** Reads one literal by descent. */
class LiteralReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text.trim();
  }

  whole(): ConfigValue {
    const value = this.#value(0);
    if (this.#text[this.#at] === ",") {
      // A tuple needs no parentheses.
      const rest = [value];
      while (this.#skip(",") && this.#at < this.#text.length) rest.push(this.#value(0));
      if (this.#at < this.#text.length) throw new NotLiteral();
      return rest;
    }
    if (this.#at < this.#text.length) throw new NotLiteral();
    return value;
  }

  #value(depth: number): ConfigValue {
    if (depth > DEPTH_MAX) throw new NotLiteral();
    this.#match(SPACE);
    const open = this.#text[this.#at] ?? "";
    const close = CLOSING.get(open);
    const value = close === undefined ? this.#scalar() : this.#collection(open, close, depth + 1);
    this.#match(SPACE);
    return value;
  }

  #collection(open: string, close: string, depth: number): ConfigValue {
    this.#at++;
    const items: ConfigValue[] = [];
    const map: ConfigMap = new Map();
    let comma = false;
    this.#match(SPACE);
    while (!this.#skip(close)) {
      const item = this.#value(depth);
      if (open === "{" && this.#skip(":")) map.set(String(item), this.#value(depth));
      else items.push(item);
      comma = this.#skip(",");
      if (!comma && this.#text[this.#at] !== close) throw new NotLiteral();
      this.#match(SPACE);
    }
    if (open === "{") {
      if (map.size > 0 && items.length > 0) throw new NotLiteral();
      return items.length > 0 ? items : map;
    }
    // Parentheses around one value are no tuple.
    return open === "(" && items.length === 1 && !comma ? items[0]! : items;
  }

  #scalar(): ConfigValue {
    const name = this.#match(NAME);
    if (name !== null) return name[0] === "None" ? null : name[0] === "True";
    const string = this.#match(STRING);
    if (string !== null) {
      const body = string[1] ?? string[2] ?? "";
      return /^[rR]/.test(string[0]) ? body : unescaped(body);
    }
    const number = this.#match(NUMBER);
    if (number === null) throw new NotLiteral();
    return numberOf(number[0].replace(/[\s_]/g, ""));
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at = pattern.lastIndex;
    return match;
  }
}

function numberOf(text: string): number {
  const digits = text.replace(/^[+-]/, "");
  // Python has no such integers; Number would take them.
  if (/^0\d+$/.test(digits) && Number(digits) !== 0) throw new NotLiteral();
  const value = Number(digits);
  if (Number.isNaN(value)) throw new NotLiteral();
  return text.startsWith("-") ? -value : value;
}

function unescaped(body: string): string {
  return body.replace(/\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\s\S])/g, (whole, code: string) => {
    if (code.length > 1) return String.fromCodePoint(Number.parseInt(code.slice(1), 16));
    if ("'\"\\".includes(code)) return code;
    return ESCAPES.get(code) ?? whole;
  });
}
