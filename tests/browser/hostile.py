"""Texts that would run as code on a page that forgets to escape one of them: each sets `window.__xss`."""

from __future__ import annotations

from typing import Final

SET: Final = "window.__xss=1"
HOSTILE: Final = (
    f"<script>{SET}</script>",
    f"<ScRiPt>{SET}</sCrIpT>",
    f"</script><script>{SET}</script>",
    f"</title><script>{SET}</script>",
    f"</textarea><script>{SET}</script>",
    f"</style><script>{SET}</script>",
    f"--><script>{SET}</script>",
    f"]]><script>{SET}</script>",
    f"<img src=x onerror={SET}>",
    f"<img src=x:x onerror={SET}//",
    f'"><img src=x onerror={SET}>',
    f"'><img src=x onerror={SET}>",
    f"`><img src=x onerror={SET}>",
    f'" onmouseover="{SET}" x="',
    f"' onmouseover='{SET}' x='",
    f'" autofocus onfocus="{SET}',
    f"' autofocus onfocus='{SET}",
    f"<svg onload={SET}>",
    f"<svg/onload={SET}>",
    f"<svg><script>{SET}</script></svg>",
    f'<svg><a xlink:href="javascript:{SET}"><text>x</text></a></svg>',
    f"<body onload={SET}>",
    f"<iframe srcdoc='<script>parent.{SET}</script>'></iframe>",
    f'<iframe src="javascript:parent.{SET}"></iframe>',
    f'<a href="javascript:{SET}">x</a>',
    f"javascript:{SET}",
    f"data:text/html,<script>{SET}</script>",
    f"<details open ontoggle={SET}>",
    f"<video><source onerror={SET}></video>",
    f"<input autofocus onfocus={SET}>",
    f"<marquee onstart={SET}>",
    f"<math><mi//xlink:href='data:x,<script>{SET}</script>'>",
    f"<object data='javascript:{SET}'></object>",
    f"<meta http-equiv=refresh content='0;url=javascript:{SET}'>",
    f"<form action='javascript:{SET}'><button>x</button></form>",
    "<base href='http://evil.example/'>",
    "<link rel=stylesheet href='http://evil.example/a.css'>",
    f"{{{{ ''.__class__ }}}}<script>{SET}</script>",
    f"\u202e<script>{SET}</script>\u200b",
    f"&lt;script&gt;{SET}&lt;/script&gt;<script>{SET}</script>",
)
