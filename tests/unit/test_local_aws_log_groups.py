"""The logs of jobs that begin at the same moment are all there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from moto.logs import models

from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.log_groups import LogGroups

ACCOUNT, REGION, GROUP = "123456789012", "eu-west-3", "/aws/sagemaker/TrainingJobs"


def test_two_jobs_that_begin_together_share_their_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = models.LogGroup.__init__

    def slowly(self: Any, *args: Any, **kwargs: Any) -> None:
        # Between moto's look for the group and its making it.
        time.sleep(0.2)
        made(self, *args, **kwargs)

    monkeypatch.setattr(models.LogGroup, "__init__", slowly)
    database = Database(tmp_path / "a.sqlite3", power_safe=False)
    groups = LogGroups(ACCOUNT, database, time.time)
    names = [f"job-{number}/algo-1" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: groups.stream(REGION, GROUP, name).write([name]), names))
    streams = models.logs_backends[ACCOUNT][REGION].groups[GROUP].streams
    assert sorted(streams) == names
    assert [event.message for name in names for event in streams[name].events] == names
    database.close()
