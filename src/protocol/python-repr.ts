import { WireFloat, type WireValue } from "./values.ts";

/** Python's `repr` of a key: of str, bytes, int, float, bool, None and tuples of those. */
export function pythonRepr(value: WireValue): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : floatRepr(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string") return stringRepr(value);
  if (value instanceof WireFloat) return floatRepr(value.value);
  if (value instanceof Uint8Array) return bytesRepr(value);
  if (Array.isArray(value)) {
    return value.length === 1 ? `(${pythonRepr(value[0]!)},)` : `(${value.map(pythonRepr).join(", ")})`;
  }
  return "<unprintable>";
}

/** JavaScript and Python print the same shortest digits, but change to exponents at different sizes. */
function floatRepr(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  if (value === 0) return "0.0";
  const [mantissa = "", exponent_text = "0"] = value.toExponential().split("e");
  const exponent = Number(exponent_text);
  if (exponent < -4 || exponent >= 16) {
    const digits = String(Math.abs(exponent)).padStart(2, "0");
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${digits}`;
  }
  const sign = mantissa.startsWith("-") ? "-" : "";
  const digits = mantissa.replace("-", "").replace(".", "");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return `${sign}${digits.padEnd(exponent + 1, "0")}.0`;
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

/** What `str.isprintable` refuses, but for the space (Unicode's newest characters may differ between the two). */
const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const ESCAPES = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\\", "\\\\"],
]);

function stringRepr(value: string): string {
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  let out = quote;
  for (const character of value) {
    const escaped = ESCAPES.get(character);
    if (escaped !== undefined) out += escaped;
    else if (character === quote) out += `\\${quote}`;
    else if (character !== " " && UNPRINTABLE.test(character))
      out += codePointEscape(character.codePointAt(0)!);
    else out += character;
  }
  return out + quote;
}

function codePointEscape(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${hex.padStart(4, "0")}`;
  return `\\U${hex.padStart(8, "0")}`;
}

function bytesRepr(bytes: Uint8Array): string {
  const quote = bytes.includes(0x27) && !bytes.includes(0x22) ? '"' : "'";
  let out = `b${quote}`;
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    const escaped = ESCAPES.get(character);
    if (escaped !== undefined) out += escaped;
    else if (character === quote) out += `\\${quote}`;
    else if (byte < 0x20 || byte > 0x7e) out += codePointEscape(byte);
    else out += character;
  }
  return out + quote;
}
