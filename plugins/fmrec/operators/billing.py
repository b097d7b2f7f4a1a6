"""Write down what an ended SageMaker job cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fmrec.layout import Run
from fmrec.operators.clients import aws_client
from fmrec.settings import Deployment


def record(run: Any, entry: Mapping[str, Any], at: datetime) -> None:
    """Put a job of a run, as XCom gives it, into the ledger; `at` is when it ended, aware."""
    from fmrec import ledger
    from fmrec.store import Store

    layout = Run.from_xcom(run).layout
    store = Store(aws_client("s3"), layout.bucket)
    region = Deployment.of(os.environ).region
    ledger.record(store, layout, region, {"run": layout.run, **entry}, at)
