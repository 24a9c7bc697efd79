"""A real browser for tests: headless Chromium, driven by its DevTools protocol; it tells every request, dialog and line of console."""

from __future__ import annotations

import asyncio
import base64
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

BINARY = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"]  # fmt: skip
# What a page that is only looked at never does.
ACTS = (
    "Page.javascriptDialogOpening",
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Page.windowOpen",
    "Page.downloadWillBegin",
)


def available() -> bool:
    """Tell if there is a Chromium here."""
    return Path(BINARY).exists()


class Tab:
    """One page. events: everything the browser told since the last `goto`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self.socket, self.session = socket, session
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for message in self.socket:
            told = message.json()
            if "id" in told:
                waiting = self._answers.pop(told["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
            elif told.get("sessionId") == self.session:
                self.events.append((told["method"], told["params"]))
                if told["method"] == "Page.loadEventFired":
                    self._loaded.set()
                if told["method"] == "Page.javascriptDialogOpening":
                    await self._send("Page.handleJavaScriptDialog", {"accept": False})

    async def _send(self, method: str, params: dict[str, Any] | None = None) -> asyncio.Future[dict[str, Any]]:
        self._number += 1
        self._answers[self._number] = answer = asyncio.get_running_loop().create_future()
        whole = {"id": self._number, "method": method, "params": params or {}, "sessionId": self.session}
        await self.socket.send_json(whole)
        return answer

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a method of the protocol."""
        told = await asyncio.wait_for(await self._send(method, params), 30)
        assert "error" not in told, f"{method}: {told}"
        result: dict[str, Any] = told["result"]
        return result

    async def goto(self, url: str, settle_s: float = 0.1) -> None:
        """Open an address, and wait until it is loaded and has had time to act."""
        self.events.clear()
        self._loaded.clear()
        await self.call("Page.navigate", {"url": url})
        await asyncio.wait_for(self._loaded.wait(), 30)
        await asyncio.sleep(settle_s)

    async def then(self, act: str) -> None:
        """Do something in the page that leads to another one, and wait for that."""
        self.events.clear()
        self._loaded.clear()
        await self.evaluate(act)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def evaluate(self, code: str) -> Any:
        """Give the value of an expression in the page."""
        told = await self.call("Runtime.evaluate", {"expression": code, "returnByValue": True})
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def look(self, width: int, *, dark: bool = False, media: str = "screen") -> None:
        """Set how wide the window is, and how the user likes it."""
        await self.call("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
        liked = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", {"media": media, "features": liked})

    async def shot(self, path: Path, most: int = 20_000) -> None:
        """Write a picture of the whole page, of its first `most` pixels at least."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        told = await self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(told["data"]))

    @property
    def status(self) -> int:
        """The status of the page itself."""
        return next((p["response"]["status"] for name, p in self.events if name == "Network.responseReceived"), 0)

    def requests(self) -> list[str]:
        """Give the addresses that were asked for."""
        return [params["request"]["url"] for name, params in self.events if name == "Network.requestWillBeSent"]

    def acts(self) -> list[str]:
        """Give what the page did beside being shown."""
        return [f"{name}: {str(params)[:300]}" for name, params in self.events if name in ACTS]


@asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """Start a browser with a profile of its own, and give its first page."""
    with tempfile.TemporaryDirectory(prefix="gristmill-browser-", ignore_cleanup_errors=True) as profile:
        child = subprocess.Popen(
            [BINARY, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as client:
                address = await _address(Path(profile) / "DevToolsActivePort", child)
                async with client.ws_connect(address, max_msg_size=0) as socket:
                    tab = await _attach(socket)
                    listening = asyncio.create_task(tab.listen())
                    for domain in ("Page", "Network", "Runtime"):
                        await tab.call(f"{domain}.enable")
                    yield tab
                    listening.cancel()
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


async def _address(told: Path, child: subprocess.Popen[bytes]) -> str:
    for _ in range(300):
        if told.exists() and len(lines := told.read_text().split()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert child.poll() is None, f"{BINARY} ended with {child.returncode}"
        await asyncio.sleep(0.1)
    raise TimeoutError("the browser did not say where it listens")


async def _attach(socket: aiohttp.ClientWebSocketResponse) -> Tab:
    await socket.send_json({"id": 1_000_001, "method": "Target.createTarget", "params": {"url": "about:blank"}})
    target = await _answer(socket, 1_000_001)
    asked = {"targetId": target["targetId"], "flatten": True}
    await socket.send_json({"id": 1_000_002, "method": "Target.attachToTarget", "params": asked})
    return Tab(socket, (await _answer(socket, 1_000_002))["sessionId"])


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while (told := await socket.receive_json()).get("id") != number:
        pass
    result: dict[str, Any] = told["result"]
    return result


def browse(visit: Callable[[Tab], Awaitable[None]]) -> None:
    """Start a browser, do something in it, end it."""

    async def go() -> None:
        async with open_tab() as tab:
            await visit(tab)

    asyncio.run(go())
