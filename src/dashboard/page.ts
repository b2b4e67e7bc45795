import { type Html, html } from "../server/html.ts";

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
