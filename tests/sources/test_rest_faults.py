"""Whatever an API's server does, on the first, a middle or the last page: nothing is lost, nothing doubled, and it ends.

What passes is overcome within the read; what does not ends it with an error that says what it was, and the next read,
when the fault is gone, is whole. `python -m tests.sources.test_rest_faults N` does the same with N seeds.
"""

import sys
import time

import pytest
from tests.faults.api import SIZE, STYLES, Api
from tests.faults.reading import HERE, rest, run, texts
from tests.faults.server import Fault, FaultServer, TcpProxy

from gristmill.core.errors import SourceError, Transient
from gristmill.core.source import PlanContext, ReadContext

RECORDS = [
    {"id": n, "text": f"Text number {n}, of Łódź and 東京. " * 3, "updated": f"2026-01-{n + 1:02}"} for n in range(22)
]
TRUTH = {str(record["id"]): record["text"] for record in RECORDS}
LAST = (len(RECORDS) - 1) // SIZE
POSITIONS = {"first": 0, "middle": LAST // 2, "last": LAST}
BOUND_S = 15  # for one read, on a busy machine

# name -> the fault: overcome by asking again.
PASSING = {
    "429, wait 0": Fault("status", value=(429, {"Retry-After": "0"})),
    "429, wait 0.05": Fault("status", value=(429, {"Retry-After": "0.05"})),
    "429, wait until a past date": Fault("retry_after_date", value=-60),
    "429, wait until now by a wrong clock": Fault("retry_after_date", value=0),
    "429, negative wait": Fault("status", value=(429, {"Retry-After": "-3600"})),
    "429, wait that is no number": Fault("status", value=(429, {"Retry-After": "soon"})),
    "429, infinite wait": Fault("status", value=(429, {"Retry-After": "inf"})),
    "429, three times": Fault("status", value=429, times=3),
    "408": Fault("status", value=408),
    "425": Fault("status", value=425),
    "500": Fault("status", value=500),
    "502": Fault("status", value=502),
    "503 with a wait": Fault("status", value=(503, {"Retry-After": "0"})),
    "504, twice": Fault("status", value=504, times=2),
    "reset at once": Fault("reset_at_once"),
    "closed at once": Fault("close_at_once"),
    "reset in the head": Fault("reset_in_head"),
    "closed in the head": Fault("close_in_head"),
    "reset in the body": Fault("reset_in_body", times=2),
    "body cut": Fault("cut_body", times=2),
    "chunks cut": Fault("cut_chunks", times=2),
    "last chunk missing": Fault("no_last_chunk"),
    "chunk size that is no number": Fault("bad_chunk_size"),
    "body without length cut": Fault("cut_no_length"),
    "more body than its length": Fault("short_length"),
    "two lengths": Fault("two_lengths"),
    "negative length": Fault("negative_length"),
    "not HTTP": Fault("not_http"),
    "5000 headers": Fault("header_flood"),
    "header of 1 MB": Fault("header_huge"),
    "endless headers": Fault("header_endless"),
    "gzip cut": Fault("encoded_cut", value="gzip"),
    "zstd cut": Fault("encoded_cut", value="zstd"),
    "br cut": Fault("encoded_cut", value="br"),
    "gzip damaged": Fault("encoded_damaged"),
    "unknown encoding": Fault("unknown_encoding"),
    "JSON cut": Fault("cut_json"),
    "HTML with 200": Fault("html"),
    "nothing with 200": Fault("nothing"),
    "an error with 200": Fault("instead", value={"status": "error", "error": {"code": "busy"}}),
    "no success with 200": Fault("instead", value={"status": "pending", "data": {"items": []}}),
}
SLOW = {"head byte by byte": Fault("slow_head"), "body byte by byte": Fault("slow_body"), "no answer": Fault("hang")}
# Odd, and no fault: the records must be those that were sent.
ODD = {
    "chunks": (Fault("chunks"), None),
    "length and chunks": (Fault("length_and_chunks"), None),
    "no length": (Fault("no_length"), "length.unverified"),
    "closed after": (Fault("close_after"), None),
    "103 before": (Fault("early_hints"), None),
    "gzip": (Fault("encoded", value="gzip"), None),
    "x-gzip": (Fault("encoded", value="x-gzip"), None),
    "deflate": (Fault("encoded", value="deflate"), None),
    "deflate without head": (Fault("raw_deflate"), None),
    "br": (Fault("encoded", value="br"), None),
    "zstd": (Fault("encoded", value="zstd"), None),
    "gzip in br": (Fault("encoded", value="gzip, br"), None),
    "gzip in two members": (Fault("gzip_members"), None),
    "says gzip, is plain": (Fault("lying_encoding", value="gzip"), "encoding.lied"),
    "says zstd, is plain": (Fault("lying_encoding", value="zstd"), "encoding.lied"),
    "says HTML in UTF-16": (Fault("lying_type"), None),
    "is UTF-16": (Fault("other_charset", value="utf-16"), None),
    "is UTF-8 with a mark": (Fault("other_charset", value="utf-8-sig"), None),
    "redirect 302": (Fault("redirect", value=(302, "{target}")), None),
    "redirect 307": (Fault("redirect", value=(307, "{target}")), None),
    "redirect 308": (Fault("redirect", value=(308, "{target}")), None),
}
# name -> (fault, its settings, what the error says): the read ends, at once or after its attempts.
LASTING = {
    "401": (Fault("status", value=401), {}, "auth.refused: HTTP 401"),
    "403": (Fault("status", value=403), {}, "auth.refused: HTTP 403"),
    "400": (Fault("status", value=400), {}, "http.400"),
    "404": (Fault("status", value=404), {}, "http.404"),
    "410": (Fault("status", value=410), {}, "http.410"),
    "304": (Fault("status", value=304), {}, "http.304"),
    "HTML for ever": (Fault("html", times=99), {"attempts": 3}, "api.not_json"),
    "error with 200 for ever": (
        Fault("instead", value={"error": "x y", "status": "ok"}, times=99),
        {"attempts": 3},
        "api.error",
    ),
    "other JSON": (Fault("instead", value={"status": "ok", "rows": []}), {}, "api.records"),
    "records that are text": (Fault("instead", value={"status": "ok", "data": {"items": "none"}}), {}, "api.records"),
    "endless body": (Fault("endless_body"), {"max_bytes": 1 << 20}, "size.cap"),
    "bomb, gzip": (Fault("bombed", value=("gzip", 1 << 27)), {}, "size.cap"),
    "bomb, zstd": (Fault("bombed", value=("zstd", 1 << 27)), {}, "size.cap"),
    "less than a bomb": (Fault("bombed", value=("gzip", 1 << 24)), {"max_ratio": 5}, "size.cap.*more than 5 times"),
    "redirect loop": (Fault("redirect", value=(302, "{target}"), times=99), {}, "net.redirects"),
    "redirect to a file": (Fault("redirect", value="file:///etc/passwd"), {}, "net.scheme"),
    "redirect inside": (Fault("redirect", value="http://10.0.0.1/"), {}, "net.blocked"),
    "redirect to data": (Fault("redirect", value="data:application/json,[]"), {}, "net.scheme"),
    "redirect to nonsense": (Fault("redirect", value="http://[::"), {}, "url.invalid"),
}
# The same, but worth another try by the engine: a wait over the cap, and what is still there after all attempts.
LATER = {
    "429, absurd wait": (Fault("status", value=(429, {"Retry-After": "100000000"})), {}, "over the 900 s allowed"),
    "429, wait until an absurd date": (Fault("retry_after_date", value=10**8), {}, "over the 900 s allowed"),
    "500 for ever": (Fault("status", value=500, times=99), {"attempts": 3}, r"http.500.*3 attempts"),
    "reset for ever": (Fault("reset_in_body", times=99), {"attempts": 3}, "net.cut"),
    "no answer for ever": (Fault("hang", times=99), {"attempts": 2, "timeout_s": 0.2}, "net.timeout"),
}


def settings(style: str, **more):
    envelope = {} if style == "link" else {"error": "error", "success": {"path": "status", "equals": "ok"}}
    return {**STYLES[style], **envelope, **more}


def style_for(name: str, position: str, seed: int) -> str:
    """Choose one of the styles, another for each fault and position; only some can do all of them."""
    styles = sorted(set(STYLES) - {"plain"})
    if "redirect" in name:
        styles.remove("graph")  # sends a body
    if "200" in name or "JSON" in name or "records" in name:
        styles.remove("link")  # has no envelope
    return styles[(sum(name.encode()) + POSITIONS[position] + seed) % len(styles)]


def spoiled(fault: Fault, position: str) -> Fault:
    return fault._replace(label=str(POSITIONS[position]))


def overcome(name: str, fault: Fault, position: str, seed: int = 0, **more) -> None:
    style = style_for(name, position, seed)
    with FaultServer(Api(RECORDS), [spoiled(fault, position)], seed=seed) as server:
        began = time.monotonic()
        got = run(rest(f"{server.url}/{style}", **settings(style, **more)))
        assert time.monotonic() - began < BOUND_S
        assert server.hits[fault.kind] == fault.times
    assert texts(got) == TRUTH
    assert len(got.rows) == len(RECORDS)
    return got


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_is_overcome(name, position):
    overcome(name, PASSING[name], position)


@pytest.mark.parametrize(("name", "position"), list(zip(SLOW, POSITIONS, strict=True)))
def test_slowness_ends_at_the_deadline_and_is_overcome(name, position):
    overcome(name, SLOW[name], position, timeout_s=0.4)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_is_understood(name, position):
    fault, warning = ODD[name]
    got = overcome(name, fault, position)
    assert dict(got.warnings) == ({warning: 1} if warning else {})


def ends(name: str, fault: Fault, position: str, more: dict, says: str, error_type: type) -> None:
    style = style_for(name, position, 0)
    with FaultServer(Api(RECORDS), [spoiled(fault, position)]) as server:
        source = rest(f"{server.url}/{style}", **settings(style, **more))
        plan = source.plan(None, PlanContext(HERE))
        pages = []
        began = time.monotonic()
        with pytest.raises(SourceError, match=says) as caught:
            pages.extend(source.read(plan.splits[0], ReadContext(HERE, batch_bytes=1)))
        assert time.monotonic() - began < BOUND_S
        assert isinstance(caught.value, Transient) == (error_type is Transient)
        server.spoil()
        assert texts(run(source)) == TRUTH


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_ends_the_read_and_says_what_it_is(name, position):
    fault, more, says = LASTING[name]
    ends(name, fault, position, more, says, SourceError)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", LATER)
def test_what_may_pass_later_is_left_to_the_engine(name, position):
    fault, more, says = LATER[name]
    ends(name, fault, position, more, says, Transient)


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"plain"}))
def test_going_on_from_every_resume_point_gives_the_rest_and_no_more(style):
    with FaultServer(Api(RECORDS)) as server:
        source = rest(f"{server.url}/{style}", **settings(style))
        (split,) = source.plan(None, PlanContext(HERE)).splits
        pages = list(source.read(split, ReadContext(HERE, batch_bytes=1)))
        whole = [row for page in pages for row in page.rows.to_pylist()]
        assert len(pages) > LAST
        for at, page in enumerate(pages):
            if page.resume is not None:
                later = list(source.read(split, ReadContext(HERE, batch_bytes=1, resume=page.resume)))
                done = [row for page in pages[: at + 1] for row in page.rows.to_pylist()]
                assert done + [row for page in later for row in page.rows.to_pylist()] == whole


@pytest.mark.parametrize("style", ["next", "page"])
def test_a_read_that_is_broken_off_by_every_fault_in_turn_is_whole_in_the_end(style):
    """Each attempt of the engine meets another 503 that asks for too long a wait, at another page."""
    absurd = (503, {"Retry-After": "999999"})
    faults = [Fault("status", label=str(page), value=absurd) for page in range(LAST + 1)]
    with FaultServer(Api(RECORDS), faults) as server:
        got = run(rest(f"{server.url}/{style}", **settings(style)), attempts=LAST + 2, batch_bytes=1)
    assert got.attempts == LAST + 2
    assert texts(got) == TRUTH
    assert len(got.rows) == len(RECORDS)


def cut_everywhere(seed: int, cuts: int = 6) -> None:
    """A proxy resets each connection after some bytes of the answers, at places the seed chooses."""
    import random

    rng = random.Random(seed)
    with (
        FaultServer(Api(RECORDS)) as server,
        TcpProxy(server.port, [rng.randrange(1, 1500) for _ in range(cuts)]) as proxy,
    ):
        got = run(rest(f"http://127.0.0.1:{proxy.port}/next", **settings("next"), attempts=10))
        assert len(proxy.passed) >= 3
    assert texts(got) == TRUTH
    assert len(got.rows) == len(RECORDS)


@pytest.mark.parametrize("seed", range(10))
def test_connections_cut_after_any_number_of_bytes_lose_nothing(seed):
    cut_everywhere(seed)


def count(seeds: int) -> str:
    """Do all kinds that are overcome, at all positions, with so many seeds; give the figure."""
    done = 0
    for seed in range(seeds):
        for position in POSITIONS:
            for name, fault in PASSING.items():
                overcome(name, fault, position, seed)
                done += 1
        cut_everywhere(seed)
        done += 1
    return f"{done} reads with faults ({len(PASSING)} kinds x {len(POSITIONS)} positions x {seeds} seeds, {seeds} proxies), 0 lost, 0 doubled"


if __name__ == "__main__":
    sys.stdout.write(count(int(sys.argv[1])) + "\n")
