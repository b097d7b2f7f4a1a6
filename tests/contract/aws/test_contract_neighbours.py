"""The built-in k-NN and K-Means as SageMaker documents them, on the local AWS or on AWS."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import uuid

import numpy as np
import pytest

from fmrec import recordio

pytestmark = pytest.mark.e2e

CSV, LINES = "text/csv", "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
CENTRES = np.array([[0, 0, 0], [9, 0, 1], [0, 9, 2], [9, 9, 3]], np.float32)


def points(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (count x 3) around four centres far apart, and the number of the centre of each."""
    draw = np.random.default_rng(seed)
    near = np.arange(count) % len(CENTRES)
    return (CENTRES[near] + draw.normal(0, 0.6, (count, 3))).astype(np.float32), near


TRAIN, TRAIN_LABELS = points(1, 120)
TEST, TEST_LABELS = points(2, 40)


@pytest.fixture(scope="module")
def learnt(target, sagemaker, s3, session_cleaner, training_request, ended):
    """Train an algorithm on the points and make a model of it; return both names and the job."""

    def learn(algorithm: str, **hyperparameters: object) -> tuple[str, dict, bytes]:
        name = f"fmrec-{uuid.uuid4().hex[:12]}"
        prefix = f"fmrec-contract/{name}/"
        session_cleaner.prefix(prefix)
        for channel, rows, labels in (
            ("train", TRAIN, TRAIN_LABELS),
            ("test", TEST, TEST_LABELS),
        ):
            body = recordio.encode_dense(rows, labels.astype(np.float32))
            s3.put_object(Bucket=target.bucket, Key=f"{prefix}{channel}/rows", Body=body)
        request = training_request(name, prefix, hyperparameters, algorithm=algorithm)
        session_cleaner.job("training_job", name)
        sagemaker.create_training_job(**request)
        job = ended("training_job", name)
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        address = job["ModelArtifacts"]["S3ModelArtifacts"]
        session_cleaner.call("delete_model", ModelName=name)
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=target.role,
            PrimaryContainer={"Image": target.image(algorithm), "ModelDataUrl": address},
        )
        bucket, _, key = address[5:].partition("/")
        return name, job, s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    return learn


@pytest.fixture(scope="module")
def neighbours(learnt):
    return learnt("knn", feature_dim=3, k=5, predictor_type="classifier", sample_size=120)


@pytest.fixture(scope="module")
def clusters(learnt):
    return learnt("kmeans", feature_dim=3, k=4, eval_metrics=json.dumps(["msd", "ssd"]), epochs=3)


@pytest.fixture
def transformed(target, sagemaker, s3, cleaner, ended, prefix, name):
    """Transform one object and return its output."""

    def transform(model: str, body: bytes, given: dict, wanted: dict, **more) -> bytes:
        place = f"s3://{target.bucket}/{prefix}"
        s3.put_object(Bucket=target.bucket, Key=f"{prefix}in/rows", Body=body)
        cleaner.job("transform_job", name, delete=False)
        source = {"S3DataType": "S3Prefix", "S3Uri": f"{place}in/"}
        sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model,
            TransformInput={"DataSource": {"S3DataSource": source}, **given},
            TransformOutput={"S3OutputPath": f"{place}out", **wanted},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        )
        job = ended("transform_job", name)
        assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
        found = s3.get_object(Bucket=target.bucket, Key=f"{prefix}out/rows.out")
        return found["Body"].read()

    return transform


def final(job: dict) -> dict[str, float]:
    return {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {name.lstrip("./"): tar.extractfile(name).read() for name in tar.getnames()}


def centroids(archive: bytes) -> np.ndarray:
    """The one array of an MXNet list: file head, NDArray head (V2, dense), data."""
    data = members(archive)["model_algo-1"]
    magic, _, count = struct.unpack_from("<QQQ", data)
    assert (magic, count) == (0x112, 1)
    version, storage, dimensions, rows, columns = struct.unpack_from("<IiIqq", data, 24)
    assert (version, storage, dimensions) == (0xF993FAC9, 0, 2)
    (kind,) = struct.unpack_from("<i", data, 24 + 28 + 8)
    assert kind == 0  # float32
    values = np.frombuffer(data, "<f4", rows * columns, 24 + 28 + 12)
    return values.reshape(rows, columns)


def squared_distances(rows: np.ndarray, to: np.ndarray) -> np.ndarray:
    return np.square(rows[:, None, :].astype(float) - to[None, :, :]).sum(axis=2)


def test_neighbours_are_scored_on_the_test_channel(neighbours):
    _, job, archive = neighbours
    assert final(job)["test:accuracy"] == 1
    files = members(archive)
    assert set(files) == {"model_algo-1", "model_algo-1.labels", "model_algo-1.json"}
    told = json.loads(files["model_algo-1.json"])
    assert (told["k"], told["predictor_type"]) == (5, "classifier")
    labels = np.frombuffer(files["model_algo-1.labels"], "<f4")
    assert sorted(labels[-120:]) == sorted(TRAIN_LABELS.astype(np.float32))


def test_verbose_neighbours_come_with_distances_smallest_first(neighbours, transformed):
    name, _, _ = neighbours
    answer = transformed(
        name,
        recordio.encode_dense(TEST, None),
        {"ContentType": RECORDIO, "SplitType": "RecordIO"},
        {"Accept": "application/jsonlines; verbose=true", "AssembleWith": "Line"},
    )
    found = [json.loads(line) for line in answer.splitlines()]
    assert [each["predicted_label"] for each in found] == TEST_LABELS.tolist()
    squares = np.sort(squared_distances(TEST, TRAIN), axis=1)[:, :5]
    distances = np.array([each["distances"] for each in found])
    assert distances == pytest.approx(squares, rel=1e-3, abs=1e-4)
    order = np.argsort(squared_distances(TEST, TRAIN), axis=1)[:, :5]
    assert [each["labels"] for each in found] == TRAIN_LABELS[order].astype(float).tolist()


def test_the_largest_inner_product_comes_last(learnt, transformed):
    """Rows are told apart by their labels: the numbers of the training rows."""
    name, _, _ = learnt(
        "knn",
        feature_dim=3,
        k=6,
        predictor_type="regressor",
        sample_size=120,
        index_metric="INNER_PRODUCT",
    )
    answer = transformed(
        name,
        recordio.encode_dense(TEST, None),
        {"ContentType": RECORDIO, "SplitType": "RecordIO"},
        {"Accept": "application/jsonlines; verbose=true", "AssembleWith": "Line"},
    )
    products = np.sort(TEST.astype(float) @ TRAIN.T.astype(float), axis=1)[:, -6:]
    distances = np.array([json.loads(line)["distances"] for line in answer.splitlines()])
    assert distances == pytest.approx(products, rel=1e-4, abs=1e-4)


def test_clusters_are_measured_on_the_test_channel(clusters):
    _, job, archive = clusters
    found = centroids(archive)
    assert found.shape == (4, 3)
    assert squared_distances(CENTRES, found).min(axis=1).max() < 0.5
    nearest = squared_distances(TEST, found).min(axis=1)
    metrics = final(job)
    assert metrics["test:msd"] == pytest.approx(nearest.mean(), rel=1e-4)
    assert metrics["test:ssd"] == pytest.approx(nearest.sum(), rel=1e-4)


def test_clusters_are_told_with_their_distance(clusters, transformed):
    name, _, archive = clusters
    lines = [json.dumps({"data": {"features": {"values": row.tolist()}}}) for row in TEST]
    answer = transformed(
        name,
        "\n".join(lines).encode(),
        {"ContentType": LINES, "SplitType": "Line"},
        {"Accept": LINES, "AssembleWith": "Line"},
    )
    found = [json.loads(line) for line in answer.splitlines()]
    squares = squared_distances(TEST, centroids(archive))
    assert [each["closest_cluster"] for each in found] == squares.argmin(axis=1).tolist()
    told = [each["distance_to_cluster"] for each in found]
    assert told == pytest.approx(np.sqrt(squares.min(axis=1)), rel=1e-3)


def test_csv_rows_keep_their_number_beside_the_answer(clusters, transformed):
    """The number is kept from the algorithm, joined to what it said, and the rest filtered out."""
    name, _, archive = clusters
    rows = [",".join([str(7 + number), *map(str, row)]) for number, row in enumerate(TEST)]
    answer = transformed(
        name,
        ("\n".join(rows) + "\n").encode(),
        {"ContentType": CSV, "SplitType": "Line"},
        {"Accept": CSV, "AssembleWith": "Line"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    found = np.array([line.split(",") for line in answer.decode().split()], float)
    squares = squared_distances(TEST, centroids(archive))
    assert found[:, 0].tolist() == list(range(7, 47))
    assert found[:, 1] == pytest.approx(np.sqrt(squares.min(axis=1)), rel=1e-3)


def test_json_lines_are_joined_with_the_answer(clusters, transformed):
    name, _, archive = clusters
    lines = [
        json.dumps({"id": number, "row": {"features": row.tolist()}})
        for number, row in enumerate(TEST)
    ]
    answer = transformed(
        name,
        "\n".join(lines).encode(),
        {"ContentType": LINES, "SplitType": "Line"},
        {"Accept": LINES, "AssembleWith": "Line"},
        DataProcessing={
            "InputFilter": "$.row",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    )
    found = [json.loads(line) for line in answer.splitlines()]
    assert [set(each) for each in found] == [{"id", "SageMakerOutput"}] * len(TEST)
    assert [each["id"] for each in found] == list(range(len(TEST)))
    squares = squared_distances(TEST, centroids(archive))
    told = [each["SageMakerOutput"]["closest_cluster"] for each in found]
    assert told == squares.argmin(axis=1).tolist()


def test_a_row_of_another_width_fails_the_job(
    target, sagemaker, s3, cleaner, ended, training_request, prefix, name
):
    """The width that was promised is 4; the rows have 3 columns."""
    body = recordio.encode_dense(TRAIN, TRAIN_LABELS.astype(np.float32))
    s3.put_object(Bucket=target.bucket, Key=f"{prefix}train/rows", Body=body)
    request = training_request(
        name, prefix, {"feature_dim": 4, "k": 2}, algorithm="kmeans", channels=("train",)
    )
    cleaner.job("training_job", name)
    sagemaker.create_training_job(**request)
    job = ended("training_job", name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(("ClientError", "AlgorithmError"))
