"""What an operation is: a function from a region and parameters to a response."""

from __future__ import annotations

from collections.abc import Callable

from fmrec.local_aws.api.json_wire import Document

Operation = Callable[[str, Document], Document]
