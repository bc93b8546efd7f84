"""The style of the report page, and the script that refreshes it while the run trains."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2126; --soft: #667080; --line: #dde1e7;
  --c0: #1f60c4; --c1: #d6452d; --c2: #2b8a57; --c3: #9055b8; --c4: #b07d12; --c5: #12808c; }
@media (prefers-color-scheme: dark) { :root {
  --back: #16191d; --ink: #e4e7eb; --soft: #98a2b0; --line: #333a43;
  --c0: #6ea3f5; --c1: #f08672; --c2: #63c490; --c3: #c294e4; --c4: #dcb04e; --c5: #5bc3ce; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 1180px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; font-weight: 600; margin-bottom: 0; }
h2 { font-size: 1.05rem; font-weight: 600; margin: 2.2rem 0 .6rem; }
p, figcaption { color: var(--soft); margin: .2rem 0; }
figure { margin: 0; }
figure ul { list-style: none; margin: .5rem 0 0; padding: 0; }
figure li { display: flex; align-items: center; gap: .6rem; margin: .3rem 0; }
audio { flex: 1; min-width: 0; max-width: 24rem; height: 2.2rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1.6rem; }
img { max-width: 100%; height: auto; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.rule { stroke: var(--line); stroke-width: 1; }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.key { margin-right: 1rem; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 1em; height: 3px; margin-right: .4em;
  vertical-align: middle; background: var(--key); }
table { border-collapse: collapse; font-size: .92rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem 1.4rem .2rem 0; text-align: left;
  font-weight: 400; }
th { color: var(--soft); }
progress { width: 100%; height: .8rem; accent-color: var(--c0); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
"""

SCRIPT = """
const news = document.getElementById("news"), written = Date.now() - 1000 * news.dataset.age;
function say() {
  const seconds = Math.round((Date.now() - written) / 1000), minutes = Math.round(seconds / 60);
  news.textContent = seconds < 120 ? `last news ${seconds} s ago` :
    `no news for ${minutes} minutes: if the process has ended, the same command goes on`;
}
if (news.dataset.age !== undefined) {
  say();
  setInterval(say, 1000);
}
setInterval(() => {
  const playing = [...document.querySelectorAll("audio")].some(player => !player.paused);
  if (!playing) location.reload();
}, 10000);
"""

SCRIPT_HASH = f"sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}"
"""Of the script, by which a server's policy lets it run and no other."""
