"""The login page: one file without scripts, because everything else needs the API key."""

import base64
import hashlib
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c2230, #e9ecf3); --soft: light-dark(#566072, #a3adbf);
  --ground: light-dark(#f4f5f9, #11141b); --card: light-dark(#ffffff, #1a1f29); --line: light-dark(#8b94a7, #6c778c);
  --accent: light-dark(#3d4fd8, #9fabff); --on-accent: light-dark(#ffffff, #10142c);
  --bad: light-dark(#a8201a, #ff9d94) }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; color: var(--ink);
  background: var(--ground); font: 1rem/1.5 Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { width: min(26rem, 100%); padding: 2rem; border-radius: 1rem; background: var(--card);
  box-shadow: 0 1px 2px rgb(16 24 48 / .1), 0 12px 32px rgb(16 24 48 / .12) }
h1 { margin: 0 0 .25rem; font-size: 1.35rem; letter-spacing: -.01em }
p { margin: 0 0 1.25rem; color: var(--soft) }
[role=alert] { color: var(--bad) }
label { display: block; font-weight: 600; margin-bottom: .35rem }
input, button { width: 100%; min-height: 2.75rem; padding: .5rem .8rem; border-radius: .6rem; font: inherit }
input { border: 1px solid var(--line); color: inherit; background: transparent }
button { margin-top: 1rem; border: 0; font-weight: 600; color: var(--on-accent); background: var(--accent);
  cursor: pointer }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
"""
_POLICY = "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def login_page(action: str, problem: str) -> tuple[str, str]:
    """A form with one field, ``key``.

    Args:
        action: The form's target, relative to the page.
        problem: Why the last attempt failed; empty at first.

    Returns:
        The HTML and its Content-Security-Policy.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    alert = f'<p role="alert" id="problem">{escape(problem)}</p>' if problem else ""
    described = ' aria-invalid="true" aria-describedby="problem"' if problem else ""
    page = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API key · lstm_lm</title>
<style>{_STYLE}</style>
<main>
<h1>Enter the API key</h1>
<p>This service requires an API key. The browser remembers it until it is closed.</p>
{alert}
<form method="post" action="{escape(action)}">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus{described}>
<button>Continue</button>
</form>
</main>
</html>
"""
    return page, _POLICY.format(digest=digest)
