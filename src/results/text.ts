import { styleText } from "node:util";

/** How text is drawn: `colour` only for a terminal, `width` in columns. */
export interface TextOptions {
  readonly colour: boolean;
  readonly width: number;
}

type Style = Parameters<typeof styleText>[0];

/** `text` in a style, or plain. */
export function styled(options: TextOptions, style: Style, text: string): string {
  return options.colour ? styleText(style, text, { validateStream: false }) : text;
}

/** What a stream can show: colour on a terminal unless NO_COLOR is set, its width or 100 columns. */
export function textOptionsOf(stream: NodeJS.WriteStream): TextOptions {
  const { NO_COLOR } = process.env;
  const allowed = NO_COLOR === undefined || NO_COLOR === "";
  return { colour: stream.isTTY === true && allowed, width: stream.columns ?? 100 };
}

/** Three significant digits, never more than needed: 0.0123, 1.23, 12.3, 123, 12,345. */
export function significant(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 999.5) return grouped(Math.round(value));
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  return value.toFixed(size >= 0.9995 ? 2 : 3);
}

/** 1234567 as 1,234,567. */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function seconds(value: number): string {
  if (value >= 1) return `${significant(value)} s`;
  if (value >= 1e-3) return `${significant(value * 1e3)} ms`;
  return `${significant(value * 1e6)} µs`;
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(value: number): string {
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${significant(value)} ${BYTE_UNITS[unit]}`;
}

const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A bar of `share` of `width` columns, to an eighth of a column. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  return "█".repeat(eighths >> 3) + EIGHTHS[eighths & 7];
}

/** Cells in columns two spaces apart: the first `left` columns flush left, the others flush right. */
export function columns(rows: readonly (readonly string[])[], left: number): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (i < left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}
