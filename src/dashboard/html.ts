/** Text that is HTML already. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | number | Html | readonly Html[];

/** A template whose values are escaped unless they are {@link Html}: keys and names are chosen by peers. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let text = strings[0]!;
  parts.forEach((part, i) => {
    text += partText(part) + strings[i + 1]!;
  });
  return new Html(text);
}

function partText(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map((item) => item.text).join("\n");
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** `root`: the way up to the dashboard's own folder, such as "../../"; links stay relative, for proxies' sake. */
export function page(title: string, root: string, body: Html): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${root}statics/rsds.css">
</head>
<body>
<nav><a href="${root}status">Status</a> <a href="${root}info/main/workers.html">Workers</a>
<a href="${root}info/main/exceptions.html">Exceptions</a> <a href="${root}info/main/logs.html">Logs</a>
<a href="${root}metrics">Metrics</a> <a href="${root}json/index.html">JSON</a></nav>
<h1>${title}</h1>
${body}
</body>
</html>
`.text;
}

/** `rows` are lines of cells. */
export function table(head: readonly string[], rows: readonly (readonly Part[])[]): Html {
  const line = (cells: readonly Part[]): Html =>
    html`<tr>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`;
  return html`<table><thead><tr>${head.map((cell) => html`<th>${cell}</th>`)}</tr></thead>
<tbody>${rows.map(line)}</tbody></table>`;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** As Dask's `format_bytes`: 23.54 GiB. */
export function bytesText(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 * 0.9 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(2)} ${UNITS[unit]}`;
}
