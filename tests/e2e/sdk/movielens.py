"""MovieLens 100K by the SageMaker SDK 2.x: likes by Factorization Machines, films by k-NN on them.

The recipe of the public notebooks: one-hot users and films of ua.base in file order, a classifier
of ratings of 4 and more; then the films' factors as k-NN's index and the users' as its questions.
Usage: movielens.py BUCKET RESULT.json ml-100k.zip published-fm-logs.json
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import boto3
import clicks
import numpy as np
import sagemaker
from sagemaker import KNN, image_uris
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from scipy import sparse

ROLE, INSTANCE, QUICK = "fmrec-local", "ml.m5.large", 0.5
RECORDIO = "application/x-recordio-protobuf"
USERS, FILMS = 943, 1680
NEAREST = 100


def ratings(archive: Path, member: str) -> np.ndarray:
    """User, film and rating of every line (n x 3)."""
    with zipfile.ZipFile(archive) as files:
        name = next(name for name in files.namelist() if name.endswith("/" + member))
        lines = files.read(name).decode().splitlines()
    return np.array([[int(field) for field in line.split("\t")[:3]] for line in lines])


def likes(table: np.ndarray, films: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One-hot rows (n x 2,623) and labels 0.0 or 1.0."""
    columns = np.column_stack([table[:, 0] - 1, USERS + np.searchsorted(films, table[:, 1])])
    features = sparse.csr_matrix(
        (
            np.ones(2 * len(table), np.float32),
            columns.ravel(),
            np.arange(0, 2 * len(table) + 1, 2),
        ),
        shape=(len(table), USERS + FILMS),
    )
    return features, (table[:, 2] >= 4).astype(np.float32)


def arrays(archive: bytes) -> dict[str, np.ndarray]:
    """The arrays of a model.tar.gz: MXNet's file of dense and row-sparse float32 arrays."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        whole = zipfile.ZipFile(io.BytesIO(tar.extractfile("model_algo-1").read()))
    data, at, found = whole.read("params"), 24, []
    (count,) = struct.unpack_from("<Q", data, 16)

    def shape() -> tuple[int, ...]:
        nonlocal at
        (dimensions,) = struct.unpack_from("<I", data, at)
        sizes = struct.unpack_from(f"<{dimensions}q", data, at + 4)
        at += 4 + 8 * dimensions
        return sizes

    for _ in range(count):
        (row_sparse,) = struct.unpack_from("<i", data, at + 4)
        at += 8
        if row_sparse:
            shape()
        sizes = shape()
        at += 12  # device and type
        if row_sparse:
            at += 4
            shape()
        length = int(np.prod(sizes))
        found.append(np.frombuffer(data, "<f4", length, at).reshape(sizes))
        at += 4 * length + (8 * sizes[0] if row_sparse else 0)  # the numbers of the rows: all
    at += 8
    names = []
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", data, at)
        names.append(data[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return dict(zip(names, found, strict=True))


def main(bucket: str, result: Path, archive: Path, published: Path) -> None:
    """Train, transform, index, ask, and write down what came of it."""
    session = sagemaker.Session(default_bucket=bucket)
    session.default_bucket()
    s3 = boto3.client("s3")
    base, test = ratings(archive, "ua.base"), ratings(archive, "ua.test")
    films = np.unique(base[:, 1])
    test = test[np.isin(test[:, 1], films)]
    features, labels = likes(test, films)
    s3.put_object(Bucket=bucket, Key="train/rows", Body=clicks.recordio(*likes(base, films)))
    s3.put_object(Bucket=bucket, Key="test/rows", Body=clicks.recordio(features, labels))
    s3.put_object(Bucket=bucket, Key="score/rows", Body=clicks.recordio(features))

    machine = Estimator(
        image_uris.retrieve("factorization-machines", session.boto_region_name),
        ROLE,
        1,
        INSTANCE,
        output_path=f"s3://{bucket}/models",
        sagemaker_session=session,
        hyperparameters=json.loads(published.read_text())["classifier"]["hyperparameters"],
    )
    machine.fit(
        {channel: TrainingInput(f"s3://{bucket}/{channel}/") for channel in ("train", "test")},
        logs="None",
    )
    transformer = machine.transformer(
        1, INSTANCE, max_payload=1, output_path=f"s3://{bucket}/scores"
    )
    transformer.transform(
        f"s3://{bucket}/score/", content_type=RECORDIO, split_type="RecordIO", wait=False
    )
    session.wait_for_transform_job(transformer.latest_transform_job.name, poll=QUICK)
    lines = session.read_s3_file(bucket, "scores/rows.out").splitlines()

    key = machine.model_data.partition(f"s3://{bucket}/")[2]
    parts = arrays(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    weights, factors = parts["arg:w1_weight"], parts["arg:v"]
    index = np.hstack([factors[USERS:], weights[USERS:]])
    asked = np.hstack([factors[:USERS], np.ones((USERS, 1), np.float32)])
    knn = KNN(
        ROLE,
        1,
        INSTANCE,
        k=NEAREST,
        sample_size=200_000,
        predictor_type="classifier",
        index_metric="INNER_PRODUCT",
        sagemaker_session=session,
    )
    numbers = np.arange(FILMS, dtype=np.float32)
    knn.fit(knn.record_set(index, numbers), logs=False)
    question = knn.record_set(asked)
    prefix = question.s3_data.rpartition("/")[0] + "/matrix_"
    transformer = knn.transformer(
        1,
        INSTANCE,
        accept="application/jsonlines; verbose=true",
        output_path=f"s3://{bucket}/nearest",
    )
    transformer.transform(prefix, content_type=RECORDIO, wait=False)
    session.wait_for_transform_job(transformer.latest_transform_job.name, poll=QUICK)
    (output,) = s3.list_objects_v2(Bucket=bucket, Prefix="nearest/")["Contents"]
    nearest = [
        json.loads(line) for line in session.read_s3_file(bucket, output["Key"]).splitlines()
    ]

    found = {
        "job": machine.latest_training_job.name,
        "model_data": machine.model_data,
        "labels": labels.tolist(),
        "scores": [json.loads(line)["score"] for line in lines],
        "nearest": [[int(each) for each in user["labels"]] for user in nearest],
        "distances": [user["distances"] for user in nearest],
    }
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
