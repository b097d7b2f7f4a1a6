"""The codec of RecordIO-protobuf, the format that SageMaker's built-in algorithms read.

A file is a sequence of frames: magic word 0xced7230a, payload length (both little-endian
uint32), payload, zero padding to a multiple of four bytes. A payload is the protobuf message
``aialgs.data.Record``: a map of feature tensors and a map of label tensors, both under the
key ``values``. Source: SageMaker Developer Guide, "Common Data Formats for Training".
"""

from __future__ import annotations

from fmrec.recordio.decoder import Records, decode, read
from fmrec.recordio.encoder import encode, encode_dense, encode_responses, write

__all__ = ["Records", "decode", "encode", "encode_dense", "encode_responses", "read", "write"]
