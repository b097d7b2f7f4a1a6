"""Filters and joins the records of batch transform: DataProcessing, and inference ids."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fmrec.errors import DataError
from fmrec.local_aws.api.faults import ApiError, invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.transform.paths import Path, parse

Format = Literal["CSV", "JSON"]
# A row is a list of fields as they stand in the file, a JSON record any JSON value.
_Record = Any
_FORMATS: dict[str, Format] = {
    "text/csv": "CSV",
    "application/json": "JSON",
    "application/jsonlines": "JSON",
}
_FIELD = re.compile(rb'"(?:[^"]|"")*"|[^",]*')
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class DataProcessing:
    """What happens to the records of a payload before and after the model has seen them.

    `given` and `wanted` are the formats of input and output, `stamp` the time that is written
    beside inference ids, where these are wanted.
    """

    given: Format
    wanted: Format
    input_filter: Path
    output_filter: Path
    join: bool
    stamp: str | None = None

    def run(self, payload: bytes, invoke: Callable[[bytes], bytes]) -> bytes:
        """Return a payload's part of the output; `invoke` asks the model.

        Raises DataError when a filter does not fit a record, when input or output are not of their
        format, or when a join finds not as many results as records.
        """
        records: list[_Record] = []
        if self.join or not self.input_filter.is_root:
            records = _read(payload, self.given, "input")
        sent = payload
        if not self.input_filter.is_root:
            filtered = [_selected(record, self.input_filter, self.given) for record in records]
            sent = _written(filtered, self.given, like=payload)
        answer = invoke(sent)
        if not self.join and self.output_filter.is_root and self.stamp is None:
            return answer
        results = _read(answer, self.wanted, "output from the algorithm")
        if self.join:
            if len(results) != len(records):
                raise DataError(
                    f"Failed to join the input with the output from the algorithm: {len(records)} "
                    f"input records and {len(results)} output records"
                )
            results = [
                _joined(record, result, self.wanted)
                for record, result in zip(records, results, strict=True)
            ]
        if not self.output_filter.is_root:
            results = [_selected(result, self.output_filter, self.wanted) for result in results]
        if self.stamp is not None:
            results = [_identified(result, self.wanted, self.stamp) for result in results]
        return _written(results, self.wanted, like=answer)


def data_processing(request: Document, stamp: str = "") -> DataProcessing | None:
    """Return what a transform job does with its records, None when it leaves them as they are.

    `stamp` is the time beside inference ids. Raises ValidationException for settings that do not
    go together.
    """
    wishes = request.get("DataProcessing", {})
    join = wishes.get("JoinSource", "None") == "Input"
    identify = request.get("DataCaptureConfig", {}).get("GenerateInferenceId", False)
    texts = {name: wishes.get(name, "$") for name in ("InputFilter", "OutputFilter")}
    if not join and not identify and all(text in ("", "$") for text in texts.values()):
        return None
    given, wanted = request["TransformInput"], request["TransformOutput"]
    content_type = _plain(given.get("ContentType", ""))
    accept = _plain(wanted.get("Accept", content_type))
    for name, value in (("ContentType", content_type), ("Accept", accept)):
        if value not in _FORMATS:
            raise _unfit(f"{name} must be one of {', '.join(_FORMATS)}", value)
    processing = DataProcessing(
        _FORMATS[content_type],
        _FORMATS[accept],
        parse("InputFilter", texts["InputFilter"], content_type),
        parse("OutputFilter", texts["OutputFilter"], accept),
        join,
        stamp if identify else None,
    )
    _check_delimiters(processing, given.get("SplitType"), wanted.get("AssembleWith"))
    if request.get("MaxPayloadInMB") == 0:
        raise _unfit("MaxPayloadInMB must not be 0", "0")
    return processing


def _check_delimiters(processing: DataProcessing, split: str | None, assemble: str | None) -> None:
    split, assemble = split or "None", assemble or "None"
    if split not in ("None", "Line"):
        raise _unfit("SplitType must be None or Line", split)
    if processing.given == "CSV" and split != "Line":
        raise _unfit("SplitType must be Line for CSV", split)
    if processing.wanted == "CSV" and assemble != "Line":
        raise _unfit("AssembleWith must be Line for CSV", assemble)
    if processing.join and processing.given != processing.wanted:
        raise _unfit(
            f"ContentType and Accept must be of one format to join {processing.given}",
            processing.wanted,
        )
    if processing.join and split != assemble:
        raise _unfit(f"AssembleWith must be {split}, as SplitType is, to join", assemble)


def _unfit(rule: str, found: str) -> ApiError:
    return invalid(f"Invalid DataProcessing: {rule}. It is {found or 'missing'}.")


def _plain(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _read(data: bytes, form: Format, what: str) -> list[_Record]:
    try:
        return _rows(data) if form == "CSV" else _values(data.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"Failed to parse {what} as {form}: {error}") from None


def _rows(data: bytes) -> list[list[bytes]]:
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [_fields(line) for line in lines if line]


def _fields(line: bytes) -> list[bytes]:
    """Return the fields of a line of RFC 4180, quotes included."""
    if b'"' not in line:
        return line.split(b",")
    fields = []
    at = 0
    while match := _FIELD.match(line, at):
        fields.append(match[0])
        at = match.end()
        if at == len(line):
            break
        if line[at : at + 1] != b",":
            near = line[max(0, at - 20) : at + 20].decode("utf-8", "replace")
            raise ValueError(f'bare " in non quoted field found near: {near}')
        at += 1
    return fields


def _values(text: str) -> list[Any]:
    """Return the JSON values that follow each other in a text, whatever space is between them."""
    values = []
    at = _end_of_space(text, 0)
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        values.append(value)
        at = _end_of_space(text, at)
    return values


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _selected(record: _Record, path: Path, form: Format) -> _Record:
    return path.columns(record) if form == "CSV" else path.select(record)


def _joined(record: _Record, result: _Record, form: Format) -> _Record:
    if form == "CSV":
        return [*record, *result]
    if isinstance(record, dict):
        return {**record, "SageMakerOutput": result}
    return {"SageMakerInput": record, "SageMakerOutput": result}


def _identified(result: _Record, form: Format, stamp: str) -> _Record:
    name = str(uuid.uuid4())
    if form == "CSV":
        return [*result, name.encode(), stamp.encode()]
    if not isinstance(result, dict):
        raise DataError("An inference id can be added to output records that are JSON objects")
    return {**result, "SageMakerInferenceId": name, "SageMakerInferenceTime": stamp}


def _written(records: list[_Record], form: Format, *, like: bytes) -> bytes:
    """Return records one a line, the last line ended as that of `like` is."""
    write = b",".join if form == "CSV" else _dumped
    lines = b"\n".join(map(write, records))
    return lines + b"\n" if lines and like.endswith(b"\n") else lines


# SageMaker writes the members of objects in the order of their names.
_dump = partial(
    json.dumps, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False
)


def _dumped(value: Any) -> bytes:
    try:
        return _dump(value).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"Failed to write a record as JSON: {error}") from None
