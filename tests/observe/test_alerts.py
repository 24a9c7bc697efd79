"""Alerts: what is told, when it is told again, and how it reaches people over real servers on loopback."""

import asyncio
import email
import json
import socket
import time

import pytest
from aiosmtpd.controller import Controller
from tests.observe.hooks import Hooks

from gristmill.config.monitoring import Alert, Apprise, Email, Webhook
from gristmill.observe import alerts, channels
from gristmill.observe.alerts import Trouble, due, of_report
from gristmill.observe.channels import Outbox, delivery
from gristmill.observe.memory import Memory

# A plugin that Apprise looks at imports what this Python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def entry(code, source=None, message="something"):
    return {"stage": "x", "source": source, "code": code, "message": message, "time": "", "context": {}}


def report(status, *errors, **more):
    return {"run": 7, "snapshot": 6, "status": status, "errors": list(errors)} | more


DRIFT = [{"source": "a", "distribution": "read.lang", "measure": "psi", "value": 0.31234, "level": "warn"}]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (report("published"), []),
        (report("nothing_new"), []),
        (report("failed", entry("StepError", message="it broke")), [("failed", "run 7 failed", "it broke", ["StepError"])]),
        (report("published_export_failed", entry("export.failed")), [("failed", "run 7 is published, but an export failed", "something", ["export.failed"])]),
        (report("refused", entry("gate.refused", message="min_docs 1 < 5")), [("refused", "run 7 was refused by the gate", "min_docs 1 < 5", ["gate.refused"])]),
        (report("partial", entry("source.failed", "b", "no route")), [("partial", "run 7 left out b", "b: no route", ["source.failed"])]),
        (report("published", entry("source.stale", "b", "silent")), [("stale", "source b is stale", "silent", ["source.stale"])]),
        (report("published", entry("source.drift", "a"), drift=DRIFT), [("drift", "run 7 has drifted: a", "a: read.lang: psi 0.312 (warn)", ["drift.warn"])]),
        (report("published", entry("cost.jump")), [("cost", "run 7 cost more than usual", "something", ["cost.jump"])]),
        (report("published", drift=[DRIFT[0] | {"level": "ok"}]), []),
        (report("published", entry("json.syntax", "a")), []),
        (report("partial", entry("source.failed", "b"), entry("source.stale", "b"), run=None), [("partial", "a run left out b", "b: something", ["source.failed"]), ("stale", "source b is stale", "something", ["source.stale"])]),
    ],
)  # fmt: skip
def test_what_a_report_is_told_as(given, wanted):
    assert [(one.event, one.title, one.text, one.codes) for one in of_report(given, Memory())] == wanted


def test_the_first_good_run_after_a_bad_one():
    [told] = of_report(report("published"), Memory(bad="run 6 failed"))
    assert (told.event, told.title, told.text) == (
        "recovered",
        "run 7 is well again (published)",
        "before it: run 6 failed",
    )
    assert of_report(report("nothing_new"), Memory(bad="x"))[0].title == "run 7 is well again (nothing new)"


def test_what_goes_on_is_told_once_a_period_and_anew_after_it_was_well():
    memory, silent = Memory(), of_report(report("published", entry("source.stale", "b")), Memory())
    assert len(due(silent, memory, 3600, whole=True)) == 1
    assert due(silent, memory, 3600, whole=True) == []
    memory.sent["stale:b"] -= 3601
    assert len(due(silent, memory, 3600, whole=True)) == 1
    assert due([], memory, 3600, whole=False) == []
    assert due(silent, memory, 3600, whole=True) == []  # a failed run in between did not look
    assert due([], memory, 3600, whole=True) == []
    assert len(due(silent, memory, 3600, whole=True)) == 1


def test_what_happens_is_told_each_time():
    memory, broken = Memory(), of_report(report("failed", entry("X")), Memory())
    assert [len(due(broken, memory, 3600, whole=False)) for _ in range(3)] == [1, 1, 1]


def test_a_text_is_short_and_steers_nothing():
    [told] = of_report(report("failed", entry("X", message="a\x1b[31m\nb" + "c" * 2000)), Memory())
    assert len(told.text) == 600
    assert told.text.startswith("a [31m b")
    assert told.text.endswith("…")


TROUBLE = Trouble(event="refused", title="run 7 was refused by the gate", text="min_docs 1 < 5", codes=["gate.refused"], run=7, snapshot=6)  # fmt: skip


def send(alert, trouble=TROUBLE, within_s=30.0):
    box = Outbox("test")
    box.post("it", delivery(alert, trouble, "/data/corpus"))
    box.close(time.monotonic() + within_s)
    return box


def test_a_webhook_gets_json():
    with Hooks() as hooks:
        box = send(Alert(webhook=Webhook(url=f"{hooks.url}/a?b", headers={"X-Key": "k"})))
    assert (box.failures, box.delivered) == ([], ["it"])
    [got] = hooks.got
    assert (got.method, got.path, got.headers["Content-Type"], got.headers["X-Key"]) == ("POST", "/a?b", "application/json", "k")  # fmt: skip
    told = got.json
    assert told.pop("time").endswith("Z")
    assert told == {
        "version": 1, "event": "refused", "title": "gristmill: run 7 was refused by the gate",
        "text": "gristmill: run 7 was refused by the gate\nmin_docs 1 < 5\ndataset /data/corpus",
        "dataset": "/data/corpus", "run": 7, "snapshot": 6, "codes": ["gate.refused"], "sources": [],
    }  # fmt: skip


def test_a_service_of_apprise_gets_it():
    with Hooks() as hooks:
        url = hooks.url.replace("http://", "json://")
        box = send(Alert(apprise=Apprise(url=[f"{url}/one", f"{url}/two"])))
    assert box.failures == []
    assert [got.path.strip("/") for got in hooks.got] == ["one", "two"]
    assert hooks.got[0].json["title"] == "gristmill: run 7 was refused by the gate"
    assert "min_docs" in hooks.got[0].json["message"]


def test_of_several_services_only_the_one_that_did_not_take_it_is_asked_again(monkeypatch, capfd):
    monkeypatch.setattr(channels, "_PAUSES_S", (0.01, 0.01))
    with Hooks(answers=[200, 500, 200]) as hooks:
        url = hooks.url.replace("http://", "json://")
        box = send(Alert(apprise=Apprise(url=[f"{url}/one", f"{url}/two"])))
    assert box.failures == []
    assert [got.path.strip("/") for got in hooks.got] == ["one", "two", "two"]
    assert capfd.readouterr() == ("", "")


def test_an_address_apprise_does_not_know_is_told_without_it():
    box = send(Alert(apprise=Apprise(url="nosuch://token-of-the-test/")))
    assert box.failures == ["it: an address that Apprise does not know"]


def test_channels_that_reach_nobody_are_told_by_check_without_their_address(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    urls = ["http://localhost/hush", "http://localhost:99999/hush", "http://[hush/", "http://hush.invalid/"]
    alerts = [*(Alert(webhook=Webhook(url=url)) for url in urls), Alert(apprise=Apprise(url=["hush", "json://a/"]))]
    alerts += [Alert(email=Email(to="a@b.c", sender="a@b.c", host=host)) for host in ("localhost", "hush.invalid")]
    found, notes = channels.problems(alerts)
    away = [told for told in [*found, *notes] if "its host cannot be" in told]  # a note where no resolver answers
    assert [told.partition(":")[0] for told in away] == ["alerts[3] (webhook)", "alerts[6] (email)"]
    assert [told for told in found if told not in away] == [
        "alerts[1] (webhook): url: host or port cannot be one; write https://host/path",
        "alerts[2] (webhook): url: host or port cannot be one; write https://host/path",
        "alerts[4] (apprise): an address that Apprise does not know; mend it",
    ]
    assert "hush" not in str([found, notes])


class Mailbox:
    """Keeps what a mail server is given."""

    def __init__(self, answer="250 OK"):
        self.mails, self.answer = [], answer

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        self.mails.append(envelope)
        await asyncio.sleep(0)
        return self.answer


@pytest.mark.parametrize(("answer", "failures"), [("250 OK", []), ("554 no", ["it: SMTP 554"])])
def test_a_mail_is_sent(answer, failures):
    box = Mailbox(answer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        mail = Email(to=["a@example.org", "b@example.org"], sender="mill@example.org", host="127.0.0.1", port=port)
        assert send(Alert(email=mail)).failures == failures
    finally:
        server.stop()
    [got] = box.mails
    assert (got.mail_from, got.rcpt_tos) == ("mill@example.org", ["a@example.org", "b@example.org"])
    message = email.message_from_bytes(got.content)
    assert message["Subject"] == "gristmill: run 7 was refused by the gate"
    body = message.get_payload(decode=True).decode()
    assert "min_docs 1 < 5" in body
    assert "codes: gate.refused" in body


def test_a_passing_failure_is_tried_again(monkeypatch):
    monkeypatch.setattr(channels, "_PAUSES_S", (0.01, 0.01))
    with Hooks(answers=[503, 429]) as hooks:
        box = send(Alert(webhook=Webhook(url=hooks.url)))
    assert (len(hooks.got), box.failures) == (3, [])


@pytest.mark.parametrize(("answers", "tries"), [([404], 1), ([500] * 9, 3), ([302] * 9, 1)])
def test_a_lasting_one_is_given_up_and_a_redirect_is_not_followed(answers, tries, monkeypatch):
    monkeypatch.setattr(channels, "_PAUSES_S", (0.01, 0.01))
    with Hooks(answers=answers, location="/elsewhere") as hooks:
        box = send(Alert(webhook=Webhook(url=f"{hooks.url}/token-of-the-test")))
    assert len(hooks.got) == tries
    assert box.failures == [f"it: HTTP {answers[0]}"]
    assert {got.path for got in hooks.got} == {"/token-of-the-test"}


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(channels, "_PAUSES_S", (0.01, 0.01))
    with Hooks() as hooks:
        gone = hooks.url
    assert send(Alert(webhook=Webhook(url=gone))).failures == ["it: ConnectionRefusedError"]


def test_one_that_does_not_answer_is_left_alone():
    with Hooks(slow_s=60) as hooks:
        began = time.monotonic()
        box = send(Alert(webhook=Webhook(url=hooks.url)), within_s=0.3)
        assert time.monotonic() - began < 30
    assert box.failures == ["it: given up, it took too long"]


def test_what_a_library_raises_is_told_by_its_type_alone():
    def explode():
        raise ValueError("http://token-of-the-test")

    box = Outbox("test")
    box.post("it", explode)
    box.close(time.monotonic() + 10)
    assert box.failures == ["it: ValueError"]


def test_secrets_of_channels_are_in_no_repr():
    for alert in (
        Alert(webhook=Webhook(url="http://token-of-the-test")),
        Alert(apprise=Apprise(url="json://token-of-the-test")),
        Alert(email=Email(to="a@b", sender="c@d", password="token-of-the-test")),
    ):
        assert "token" not in repr(alert)
        assert "token" not in json.dumps(alerts.payload(TROUBLE, "/d"))
