"""Measure what the local AWS adds to a job and to an invocation, and its memory.

    python tools/bench_local_aws.py [--rounds N]

A job that does nothing is timed from its submission to Completed; an endpoint of a small FM model
is asked by boto3 clients, and its model server directly for comparison; a thousand objects of
1 MB are put, listed and read while the server's memory is watched.
Writes docs/benchmarks/local-aws.md. Needs Linux (memory is read from /proc).
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import moto
import numpy as np
import psutil
from botocore.config import Config

from bench_codec import memory_gib, processor
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.model import Model

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "local-aws.md"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
FEATURES, FACTORS = 2625, 64
BODY = b'{"instances":[{"data":{"features":{"keys":[3,1000],"shape":[2625],"values":[1,1]}}}]}'
OBJECTS, MEGABYTE = 1000, 1 << 20


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (process, client):
        say("jobs that do nothing")
        jobs = overhead(client, rounds * 10)
        say("invocations")
        invocations = invoke(process, client, rounds)
        say("objects")
        memory = remember(process, client)
    lines = page(rounds, load, jobs, invocations, memory)
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines[8:]) + "\n")
    if any(line.endswith("| no |") for line in lines):
        sys.exit("a bar does not hold: see the page")


def say(what: str) -> None:
    """Tell what is being measured."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {what}\n")


@contextmanager
def server(folder: Path) -> Iterator[tuple[psutil.Process, Callable[..., Any]]]:
    """Run a local AWS with an image whose training does nothing."""
    images = folder / "images.toml"
    images.write_text('[images.nothing]\ntrain = ["true"]\n', encoding="utf-8")
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0"]
    options = ["--state", str(folder / "state"), "--images", str(images)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise AssertionError
    url = process.stdout.readline().split()[4].rstrip(",")

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106 - none is checked
            config=Config(max_pool_connections=32),
        )

    try:
        client("s3").create_bucket(Bucket="bench")
        yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(60)


def overhead(client: Callable[..., Any], jobs: int) -> list[float]:
    """Return the seconds from submission to Completed of jobs, one after the other."""
    sagemaker, seconds = client("sagemaker"), []
    for number in range(jobs):
        name = f"nothing-{number}"
        started = time.perf_counter()
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={
                "TrainingImage": f"{REGISTRY}/nothing:1",
                "TrainingInputMode": "File",
            },
            OutputDataConfig={"S3OutputPath": "s3://bench/out"},
            ResourceConfig={
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        while sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] != (
            "Completed"
        ):
            time.sleep(0.01)
        seconds.append(time.perf_counter() - started)
    return seconds


def invoke(
    process: psutil.Process, client: Callable[..., Any], rounds: int
) -> dict[str, list[float]]:
    """Return requests per second through the API by clients, and without it by one connection."""
    before = {child.pid for child in process.children(recursive=True)}
    deploy(client)
    (serving,) = [child for child in process.children(recursive=True) if child.pid not in before]
    port = int(serving.environ()["SAGEMAKER_BIND_TO_PORT"])
    runtime = client("sagemaker-runtime")

    def ask(_: int) -> bytes:
        answer = runtime.invoke_endpoint(
            EndpointName="bench", ContentType="application/json", Body=BODY
        )
        body: bytes = answer["Body"].read()
        return body

    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask_directly(_: int) -> bytes:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/invocations", BODY, headers)
        return connection.getresponse().read()

    if ask(0) != ask_directly(0):
        raise AssertionError("the endpoint and its model server answer differently")
    found: dict[str, list[float]] = {"one client": [], "four clients": [], "directly": []}
    for _ in range(rounds):
        found["one client"].append(rate(lambda: [ask(each) for each in range(400)], 400))
        with ThreadPoolExecutor(4) as pool:
            found["four clients"].append(rate(lambda: list(pool.map(ask, range(400))), 400))
        found["directly"].append(rate(lambda: [ask_directly(each) for each in range(400)], 400))
    connection.close()
    client("sagemaker").delete_endpoint(EndpointName="bench")
    return found


def rate(work: Callable[[], object], count: int) -> float:
    """Return how many of `count` things a second `work` does."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def deploy(client: Callable[..., Any]) -> None:
    """Put a random FM model behind the endpoint `bench`."""
    rng = np.random.default_rng(0)
    model = Model(
        predictor_type="regressor",
        w0=3.0,
        w=rng.normal(0, 0.1, FEATURES).astype(np.float32),
        V=rng.normal(0, 0.1, (FEATURES, FACTORS)).astype(np.float32),
    )
    parameters = hyperparameters.parse(
        {"feature_dim": FEATURES, "num_factors": FACTORS, "predictor_type": "regressor"}
    ).configuration
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w:gz") as tar:
        artifact.save(model, Path(folder), parameters)
        for path in sorted(Path(folder).iterdir()):
            tar.add(path, path.name)
    client("s3").put_object(Bucket="bench", Key="model.tar.gz", Body=packed.getvalue())
    sagemaker = client("sagemaker")
    container = {
        "Image": f"{REGISTRY}/factorization-machines:1",
        "ModelDataUrl": "s3://bench/model.tar.gz",
    }
    sagemaker.create_model(ModelName="bench", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "bench",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName="bench", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="bench", EndpointConfigName="bench")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="bench", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def remember(process: psutil.Process, client: Callable[..., Any]) -> dict[str, float]:
    """Return the server's resident memory in MiB as objects of 1 MB come and are read."""
    s3, body = client("s3"), os.urandom(MEGABYTE)
    found = {"before": resident(process)}
    for number in range(OBJECTS):
        s3.put_object(Bucket="bench", Key=f"objects/{number:04}", Body=body)
        if number + 1 in (100, OBJECTS // 2, OBJECTS):
            found[f"after {number + 1} put"] = resident(process)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="objects/")
    keys = [item["Key"] for each in pages for item in each["Contents"]]
    if len(keys) != OBJECTS:
        raise AssertionError(f"{len(keys)} objects are listed")
    for key in keys:
        s3.get_object(Bucket="bench", Key=key)["Body"].read()
    found["after all were read"] = resident(process)
    return found


def resident(process: psutil.Process) -> float:
    """Return the resident memory of a process in MiB."""
    return float(process.memory_info().rss) / MEGABYTE


def page(
    rounds: int,
    load: float,
    jobs: list[float],
    invocations: dict[str, list[float]],
    memory: dict[str, float],
) -> list[str]:
    """Return the lines of the page."""
    growth = memory["after all were read"] - memory["after 100 put"]
    first, four = (statistics.median(invocations[key]) for key in ("one client", "four clients"))
    longest = max(jobs)
    return [
        "# What the local AWS costs",
        "",
        "Clients, server and model server share one machine. Made by `tools/bench_local_aws.py`.",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{memory_gib():.0f} GiB, load average at start {load:.1f}",
        f"- Python {platform.python_version()}, boto3 {boto3.__version__}, moto {moto.__version__}",
        f"- {rounds} rounds; figures are medians (lowest to highest)",
        "",
        f"A training job whose command does nothing, submission to Completed, {len(jobs)} jobs one "
        f"after the other: {spread(jobs, 3)} s.",
        "",
        f"Invocations of an FM endpoint ({FEATURES} columns, {FACTORS} factors, sparse JSON of one "
        "row) per second:",
        "",
        "| | per second |",
        "|---|--:|",
        *(f"| {name} | {spread(values, 0)} |" for name, values in invocations.items()),
        "",
        "*directly* asks the model server itself, over one connection, without signing or the API.",
        "",
        f"Resident memory of the server, {OBJECTS:,} objects of 1 MB, in MiB:",
        "",
        "| | MiB |",
        "|---|--:|",
        *(f"| {name} | {value:.0f} |" for name, value in memory.items()),
        "",
        "| asked for | measured | holds |",
        "|---|--:|---|",
        f"| a job's overhead under 1.5 s | {longest:.2f} at most | {yes(longest < 1.5)} |",
        f"| 200 invocations per second, one client | {first:.0f} | {yes(first >= 200)} |",
        f"| 200 invocations per second, four clients | {four:.0f} | {yes(four >= 200)} |",
        f"| memory grows less than 10 MiB from the 100th object on | {growth:.1f} | "
        f"{yes(growth < 10)} |",
    ]


def spread(values: list[float], digits: int) -> str:
    """Return a median with its range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"**{middle:.{digits}f}** ({low:.{digits}f} to {high:.{digits}f})"


def yes(holds: bool) -> str:
    """Return the word for whether a bar holds."""
    return "yes" if holds else "no"


if __name__ == "__main__":
    main()
