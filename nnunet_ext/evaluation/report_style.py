"""The style sheet of the report: plain CSS, inlined in the page; light and dark, narrow and wide screens."""

CSS = """
:root { color-scheme: light dark; --text: #1b1f24; --muted: #57606a; --ground: #ffffff; --panel: #f6f8fa;
  --line: #d0d7de; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --muted: #9aa4af; --ground: #0d1117;
  --panel: #161b22; --line: #30363d; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 84rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.muted, figcaption, caption { color: var(--muted); font-size: .9rem; text-align: left; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: bottom; }
th { color: var(--muted); font-weight: 600; font-size: .85rem; }
th.number, td.number { text-align: right; }
td.number, td.short { white-space: nowrap; }
th.number { min-width: 4.2rem; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--ground); }
tbody tr:hover td { background: var(--panel); }
figure { margin: 1rem 0; }
figure img { display: block; max-width: none; width: 100%; min-width: 40rem; border-radius: 4px;
  background: #fff; }
figure.chart img { min-width: 0; max-width: 46rem; }
figure.small img { max-width: 30rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 0 1.2rem; }
ul { padding-left: 1.2rem; max-width: 48rem; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; max-width: none; }
.swatch { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem; vertical-align: -.1rem;
  border: 1px solid var(--muted); border-radius: 2px; }
.hatched { background-image: repeating-linear-gradient(135deg, transparent 0 2px, #0008 2px 4px); }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 4px; padding: .8rem;
  margin: .5rem 0; overflow-x: auto;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .3rem 1rem;
  margin: .5rem 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
.notice { border: 1px solid var(--line); border-left: .35rem solid #d55e00; border-radius: 4px; padding: .6rem .9rem;
  margin: 1rem 0; background: var(--panel); }
.notice ul { margin: .3rem 0 0; max-width: none; }
.notice li { white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 34rem) { body { padding: .9rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } th, td { padding: .35rem .5rem; }
  td:first-child { min-width: 38vw; max-width: 42vw; overflow-wrap: anywhere; font-size: .85rem; } }
@page { size: landscape; margin: 12mm; }
@media print { :root { font-size: 11px; } body { max-width: none; padding: 0; } pre { white-space: pre-wrap; }
  .scroll { overflow: visible; } figure { break-inside: avoid; } figure img { min-width: 0; max-width: 60rem; }
  th, td { padding: .2rem .45rem; } th.number { min-width: 0; } td:first-child { overflow-wrap: anywhere; }
  h2, figcaption { break-after: avoid; } tr { break-inside: avoid; } }
"""
