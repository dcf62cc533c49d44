"""The look of the page: one column, light and dark by the reader's own setting."""

STYLE = """
:root { color-scheme: light dark; --back: #fbfbfd; --card: #fff; --text: #1b1c22; --soft: #5a5c6b;
  --line: #d9dae3; --done: #1e6f3c; --done-back: #e3f3e8; --kept: #4a4c5c; --kept-back: #eeeff4;
  --failed: #a3201b; --failed-back: #fbe6e4; --blob: #cfe2f8; --layer: #e7dcf7; --step: #cfeedd;
  --link: #1756a9; --bar: #4f7fc0; }
@media (prefers-color-scheme: dark) { :root { --back: #15161b; --card: #1d1f26; --text: #ececf2;
  --soft: #a9abba; --line: #373a47; --done: #86dba4; --done-back: #17321f; --kept: #b9bbca;
  --kept-back: #292b35; --failed: #ff9d96; --failed-back: #431b19; --blob: #23476e;
  --layer: #47356a; --step: #22543a; --link: #8fbcff; --bar: #6f9ede; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
main, header, nav { max-width: 74rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
a { color: var(--link); } a:focus-visible, summary:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: .5rem;
  background: var(--card); padding: .4rem .8rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; padding: 0;
  margin: .8rem 0 0; }
dl.sums { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin: 1rem 0; }
dl.sums div { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.15rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: .8rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
table { min-width: 44rem; } .wide { overflow-x: auto; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td code { overflow-wrap: anywhere; } th { font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
code, .digest { font: .85rem/1.4 ui-monospace, monospace; }
details { margin: .6rem 0; } summary { cursor: pointer; padding: .2rem 0; }
.mark { border-radius: 4px; padding: 0 .4rem; white-space: nowrap; }
.mark.done { color: var(--done); background: var(--done-back); }
.mark.kept { color: var(--kept); background: var(--kept-back); }
.mark.failed { color: var(--failed); background: var(--failed-back); }
.errors { border-left: 4px solid var(--failed); padding-left: .8rem; white-space: pre-wrap; }
svg { display: block; } svg.timeline { width: 100%; min-width: 44rem; height: auto; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg text.small { font-size: 11px; fill: var(--soft); }
.edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
.box rect { stroke-width: 1.5; } .box.done rect { fill: var(--done-back); stroke: var(--done); }
.box.kept rect { fill: var(--kept-back); stroke: var(--line); }
.box.failed rect { fill: var(--failed-back); stroke: var(--failed); }
.bar.step rect { fill: var(--step); } .bar.blob rect { fill: var(--blob); }
.bar.layer rect { fill: var(--layer); } .bar.failed rect { fill: var(--failed-back);
  stroke: var(--failed); } .bar text.small { fill: var(--text); }
svg.size rect { fill: var(--bar); } svg.size { display: inline-block; }
@media print { .skip, nav { display: none; } details { display: block; } }
"""
