"""Tells a run of test groups what pytest does, and does what the run says.

Written beside the run and loaded with ``-p``. Needs pytest 7 or later and nothing else. Talks JSON, a line each, over a
Unix socket: stdout belongs to the tests. PyTorch is asked what it holds if a test has imported it; it is never imported here,
and its statistics are never reset.

Roles (``OMNIMIND_TEST_ROLE``): ``list`` collects and says what there is; ``run`` runs the test ``OMNIMIND_TEST_ONLY`` and nothing
else; ``worker`` collects everything and then asks for one test after the other.
"""

import json
import os
import socket
import sys
import time

import pytest

MOST_TEXT = 128 * 1024
IDS_AT_ONCE = 500


def shortened(text):
    """Beginning and end of a long text."""
    if len(text) <= MOST_TEXT:
        return text
    half = MOST_TEXT // 2
    return "%s\n[%d characters are left out here]\n%s" % (text[:half], len(text) - 2 * half, text[-half:])


def torch_memory():
    """What the allocator of PyTorch holds in this process, or nothing if PyTorch is not there or not in use."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return None
        return {"allocated": torch.cuda.memory_allocated(), "reserved": torch.cuda.memory_reserved()}
    except Exception:
        # A half-imported or a replaced torch is no reason to fail a test.
        return None


def give_back_cached_memory():
    """Blocks that PyTorch keeps for later are of no use to the other workers on this card."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    except Exception:
        pass


class Run:
    """The other side of the socket."""

    def __init__(self, path, role):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.pid = os.getpid()
        self.tell({"event": "hello", "role": role, "pid": self.pid})

    def tell(self, message):
        # A test that forked without exec must not speak for its parent.
        if os.getpid() != self.pid:
            return False
        try:
            self.socket.sendall(json.dumps(message).encode("ascii") + b"\n")
            return True
        except OSError:
            return False

    def ask(self, message):
        """The answer, or None if nobody is there any more."""
        if not self.tell(message):
            return None
        try:
            line = self.lines.readline()
        except OSError:
            return None
        return json.loads(line) if line else None


class Plugin:
    def __init__(self, config, run, role):
        self.config = config
        self.run = run
        self.role = role
        self.only = os.environ.get("OMNIMIND_TEST_ONLY")
        self.shares_card = os.environ.get("OMNIMIND_TEST_SHARES_CARD") == "1"
        self.phases = []

    # What there is.

    def pytest_collectreport(self, report):
        if report.failed:
            self.run.tell({
                "event": "collect_error",
                "id": report.nodeid or ".",
                "message": shortened(str(report.longrepr)),
            })

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        if self.role != "run":
            return
        chosen = [item for item in items if item.nodeid == self.only][:1]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    def tell_collected(self, session):
        ids = [item.nodeid for item in session.items]
        for start in range(0, len(ids), IDS_AT_ONCE):
            self.run.tell({"event": "collected", "ids": ids[start:start + IDS_AT_ONCE]})
        # Its answer means that all of it has arrived.
        self.run.ask({
            "event": "all_collected",
            "errors": session.testsfailed,
            "goes_on": bool(session.config.option.continue_on_collection_errors),
            "rootdir": str(self.config.rootpath),
            "inipath": str(self.config.inipath) if self.config.inipath else None,
        })

    # What is run.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if self.role == "run":
            return None
        self.tell_collected(session)
        if self.role == "list":
            return True
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted("%d error(s) during collection" % session.testsfailed)
        by_id = {}
        for item in session.items:
            by_id.setdefault(item.nodeid, []).append(item)
        item = self.next_item(by_id)
        while item is not None:
            following = self.next_item(by_id)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                self.run.tell({"event": "stops", "reason": str(session.shouldfail)})
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                self.run.tell({"event": "stops", "reason": str(session.shouldstop)})
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def next_item(self, by_id):
        """The next test to run; what is asked for and was not collected here is told, and passed over."""
        while True:
            answer = self.run.ask({"event": "next"})
            if answer is None or answer["id"] is None:
                return None
            items = by_id.get(answer["id"])
            if items:
                return items.pop(0)
            self.run.tell({"event": "missing", "id": answer["id"]})

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        answer = self.run.ask({"event": "start", "id": item.nodeid})
        if answer is None or not answer["go"]:
            pytest.exit("the run of test groups has ended", returncode=2)
        os.environ["OMNIMIND_TEST"] = answer["mark"]
        self.phases = []
        before, began = torch_memory(), time.monotonic()
        yield
        if self.shares_card:
            give_back_cached_memory()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        message = self.result()
        message.update({
            "event": "finished",
            "id": item.nodeid,
            "seconds": time.monotonic() - began,
            "torch_before": before,
            "torch_after": torch_memory(),
        })
        self.run.ask(message)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "setup":
            # Plugins that run a test again begin again.
            self.phases = []
        self.phases.append(report)

    def result(self):
        """What became of a test, by the reports of its phases."""
        failed = [report for report in self.phases if report.failed]
        skipped = [report for report in self.phases if report.skipped]
        texts, short = [], None
        for report in failed:
            if report.longrepr is not None:
                texts.append(str(report.longrepr))
            crash = getattr(report.longrepr, "reprcrash", None)
            short = short or getattr(crash, "message", None)
        # Each phase repeats the sections of those before it.
        sections = {}
        for report in self.phases:
            for name, content in report.sections:
                if name not in sections or len(content) > len(sections[name]):
                    sections[name] = content
        outcome = "failed" if failed or not self.phases else "skipped" if skipped else "passed"
        if outcome == "skipped":
            reason = getattr(skipped[0], "wasxfail", None)
            if reason is None and isinstance(skipped[0].longrepr, tuple):
                reason = skipped[0].longrepr[-1]
            short = reason
        return {
            "outcome": outcome,
            "short": shortened(str(short)) if short else None,
            "error": shortened("\n".join(texts)),
            "output": shortened("\n".join(sections.values())),
        }

    # What would get in the way.

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config):
        stay_in_this_process(config)


def stay_in_this_process(config):
    """Workers of pytest-xdist (`-n 4` among a project's own options) would not be seen; the run has its own."""
    if config.pluginmanager.hasplugin("xdist"):
        config.option.numprocesses = None
        config.option.dist = "no"
        config.option.tx = []
        config.option.looponfail = False


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    path, role = os.environ.get("OMNIMIND_TEST_SOCKET"), os.environ.get("OMNIMIND_TEST_ROLE")
    if not path or not role:
        return
    # A pytest that a test starts is no worker of ours.
    del os.environ["OMNIMIND_TEST_SOCKET"], os.environ["OMNIMIND_TEST_ROLE"]
    stay_in_this_process(config)
    config.pluginmanager.register(Plugin(config, Run(path, role), role.split(":")[0]), "omnimind_test_groups_run")
