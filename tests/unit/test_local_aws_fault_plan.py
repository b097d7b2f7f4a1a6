from __future__ import annotations

import json

import pytest

from fmrec.errors import ConfigurationError
from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.machine.fault_plan import FaultPlan, parse
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.wire.mishaps import Mishaps

SIGNED = "AWS4-HMAC-SHA256 Credential=K/20261120/us-east-1/{}/aws4_request, SignedHeaders=host"


def job(name: str, kind: str = "training-job") -> Identity:
    return Identity(kind, "us-east-1", name, "123456789012")


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "faults.json"
    built = FaultPlan(path)

    def write(*faults: dict, seed: int = 0) -> FaultPlan:
        built.replace(json.dumps({"seed": seed, "faults": faults}).encode())
        return built

    return write


def test_without_a_file_nothing_goes_wrong(tmp_path):
    plan = FaultPlan(tmp_path / "faults.json")
    assert plan.for_request("sagemaker", "CreateModel") is None
    plan.reach(job("a"), "Starting")


def test_a_rule_meets_what_it_names_and_so_many_times(plan):
    faults = plan(
        {"fault": "throttle", "operation": "Describe*", "times": 2},
        {"fault": "crash", "kind": "transform-job", "name": "b*", "phase": "Uploading"},
    )
    met = [faults.for_request("sagemaker", "DescribeModel") is not None for _ in range(4)]
    assert met == [True, True, False, False]
    assert faults.for_request("sagemaker", "CreateModel") is None
    assert faults.for_request("s3", "Describe") is None
    faults.reach(job("b1"), "Uploading")
    faults.reach(job("a", "transform-job"), "Uploading")
    faults.reach(job("b1", "transform-job"), "Downloading")
    with pytest.raises(JobFailedError, match="InternalServerError"):
        faults.reach(job("b1", "transform-job"), "Uploading")


def test_capacity_is_missing_at_the_start_and_interruptions_are_for_spot(plan):
    faults = plan({"fault": "capacity", "name": "c"}, {"fault": "interrupt", "name": "i"})
    assert faults.for_job(job("c"), "Training") is None
    with pytest.raises(JobFailedError, match="CapacityError"):
        faults.reach(job("c"), "Starting")
    assert faults.for_job(job("i"), "Training") is None
    assert faults.for_job(job("i"), "Training", spot=True).fault == "interrupt"


def test_draws_follow_from_the_seed_and_the_job_in_any_order(plan):
    names = [f"job-{number}" for number in range(200)]

    def hit(order: list[str], seed: int) -> set[str]:
        faults = plan({"fault": "crash", "probability": 0.3}, seed=seed)
        return {name for name in order if faults.for_job(job(name), "Training")}

    first = hit(names, 1)
    assert hit(names[::-1], 1) == first
    assert hit(names, 2) != first
    # 200 draws of chance 0.3: 60, and not further off than five standard deviations.
    assert 27 <= len(first) <= 93


def test_a_changed_file_counts_anew_and_a_broken_one_stops_all_faults(plan, tmp_path):
    faults = plan({"fault": "slow", "times": 1})
    assert faults.for_request("sagemaker", "CreateModel")
    assert not faults.for_request("sagemaker", "CreateModel")
    plan({"fault": "slow", "times": 1, "seconds": 3})
    assert faults.for_request("sagemaker", "CreateModel").seconds == 3
    (tmp_path / "faults.json").write_text("{")
    assert not faults.for_request("sagemaker", "CreateModel")
    faults.remove()
    assert not faults.for_request("sagemaker", "CreateModel")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be an object"),
        (b'{"fault": []}', "must be an object"),
        (b'{"seed": "x"}', "seed"),
        (b'{"faults": ["slow"]}', 'fault 1 of faults.json must be an object with a member "fault"'),
        (b'{"faults": [{"fault": "flood"}]}', "fault is 'flood'; one of throttle"),
        (b'{"faults": [{"fault": "slow"}, {"fault": "slow", "second": 1}]}', "fault 2 .*'second'"),
        (b'{"faults": [{"fault": "slow", "seconds": "1"}]}', "seconds is '1'"),
        (b'{"faults": [{"fault": "slow", "seconds": -1}]}', "seconds is 0 or more"),
        (b'{"faults": [{"fault": "slow", "seconds": NaN}]}', "seconds is 0 or more"),
        (b'{"faults": [{"fault": "interrupt", "phase": "Starting"}]}', "phase is for crash"),
        (b"[" * 100_000, "not JSON"),
        (b'{"faults": [{"fault": "slow", "times": 0}]}', "times 1 or more"),
        (b'{"faults": [{"fault": "slow", "times": true}]}', "times is True"),
        (b'{"faults": [{"fault": "slow", "probability": 2}]}', "probability lies from 0 to 1"),
        (b'{"faults": [{"fault": "crash", "phase": "Cooking"}]}', "phase is 'Cooking'"),
        (b'{"faults": [{"fault": "crash", "kind": "pod"}]}', "kind is 'pod'"),
    ],
)
def test_a_plan_that_is_wrong_says_where(text, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        parse(text)


@pytest.mark.parametrize(
    ("fault", "service", "status", "code"),
    [
        ("throttle", "sagemaker", "400", "ThrottlingException"),
        ("throttle", "s3", "503", "SlowDown"),
        ("server-error", "logs", "500", "InternalFailure"),
        ("server-error", "s3", "500", "InternalError"),
        ("deny", "sagemaker", "400", "AccessDeniedException"),
        ("deny", "s3", "403", "AccessDenied"),
    ],
)
def test_each_service_words_a_fault_in_its_own_way(plan, fault, service, status, code):
    faults = plan({"fault": fault, "service": service, "times": 1})
    passed = []

    def application(environ, start_response):
        passed.append(environ)
        return [b"passed"]

    environ = {
        "PATH_INFO": "/bucket/key",
        "REQUEST_METHOD": "POST",
        "HTTP_AUTHORIZATION": SIGNED.format(service),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "1",
        "wsgi.url_scheme": "http",
    }
    told = []
    mishaps = Mishaps(application, faults)
    body = b"".join(mishaps(environ, lambda status, headers: told.append(status)))
    assert (told[0][:3], code in body.decode(), passed) == (status, True, [])
    assert list(mishaps(environ, lambda *_: None)) == [b"passed"]
