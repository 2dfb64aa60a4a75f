"""`TakoTestCase` beside `django.test.TestCase`: handlers see the transaction of the test."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.frameworks

SCRIPT = """
    import sys

    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        SECRET_KEY="x",
    )
    django.setup()

    from django.contrib.auth.models import User
    from django.db import transaction
    from django.test import TestCase
    from django.test.utils import get_runner

    from tako_lite import BlockingStep, Step, workflow
    from tako_lite.testing import TakoTestCase

    @workflow("plain")
    def plain(pk: int, step: BlockingStep) -> str:
        name = step.run("name", lambda: User.objects.get(pk=pk).username)
        User.objects.create(username=f"friend of {name}")
        return name

    @workflow("asynchronous")
    async def asynchronous(pk: int, step: Step) -> list[str]:
        first = await step.run("name", lambda: User.objects.get(pk=pk).username)
        return [first, (await User.objects.aget(pk=pk)).username]

    class OrderTests(TakoTestCase, TestCase):
        tako_options = {"workflows": [plain, asynchronous], "config": ""}

        def test_a_plain_handler_sees_the_transaction(self) -> None:
            ann = User.objects.create(username="ann")
            self.assertEqual(self.tako.run(plain, ann.pk).succeeded, "ann")
            self.assertEqual(User.objects.count(), 2)

        def test_an_async_handler_sees_it_too(self) -> None:
            ann = User.objects.create(username="ann")
            self.assertEqual(self.tako.run(asynchronous, ann.pk).succeeded, ["ann", "ann"])

        def test_a_view_enqueues_inline_on_commit(self) -> None:
            ann = User.objects.create(username="ann")
            with self.tako.using("inline"), self.captureOnCommitCallbacks(execute=True):
                transaction.on_commit(lambda: plain.enqueue(ann.pk))
            self.assertEqual([run.succeeded for run in self.tako.runs()], ["ann"])

    if __name__ == "__main__":
        sys.exit(get_runner(settings)(verbosity=2).run_tests(["__main__"]))
"""


def test_handlers_see_the_transaction_of_a_django_test(tmp_path: Path) -> None:
    script = tmp_path / "tests.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, "-W", "error::ResourceWarning", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr
