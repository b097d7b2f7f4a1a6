from __future__ import annotations

import threading

import pytest

from fmrec.local_aws.algorithms import Algorithm
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.machine.containers import ContainerLedger
from fmrec.local_aws.machine.fault_plan import FaultPlan
from fmrec.local_aws.machine.orphan_watch import OrphanWatch
from fmrec.local_aws.machine.runner import JobRunner
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.object_files import ObjectFiles
from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.log_groups import LogGroups
from fmrec.local_aws.state.records import Records
from fmrec.local_aws.training.jobs import TrainingJobs
from fmrec.local_aws.transform.jobs import TransformJobs
from fmrec.local_aws.workplace import Workplace

ACCOUNT = "123456789012"
REGION = "us-east-1"
TRAINING = {
    "TrainingJobName": "job",
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "AlgorithmSpecification": {"TrainingImage": "toy", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
    "ResourceConfig": {"InstanceType": "ml.m5.large"},
}
TRANSFORM = {
    "TransformJobName": "job",
    "ModelName": "model",
    "TransformInput": {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in"}}
    },
    "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
    "TransformResources": {"InstanceType": "ml.m5.large"},
}


class SeenAtOnce(Records):
    """Lets another client act as soon as a job is on record, before its creator goes on."""

    stopper: threading.Thread

    def insert(self, identity, document, now):
        inserted = super().insert(identity, document, now)
        if identity.kind != "model":
            self.stopper.start()
            # A stop that does not wait for the job to be queued is over in much less.
            self.stopper.join(timeout=0.3)
        return inserted


@pytest.fixture
def place(tmp_path):
    database = Database(tmp_path / "db.sqlite3", power_safe=False)
    watch = OrphanWatch()
    built = Workplace(
        account=ACCOUNT,
        folder=tmp_path / "jobs",
        records=SeenAtOnce(database),
        s3=DurableS3(ACCOUNT, ObjectFiles(tmp_path / "s3", database)),
        logs=LogGroups(ACCOUNT, database, lambda: 0.0),
        ledger=ContainerLedger(database, watch),
        runner=JobRunner(1),
        algorithms={"toy": Algorithm(train=("false",), serve=("false",))},
        faults=FaultPlan(tmp_path / "faults.json"),
        clock=lambda: 0.0,
        stop_grace=1,
        threads=1,
    )
    yield built
    built.runner.close()
    watch.close()
    database.close()


@pytest.mark.parametrize("kind", ["training", "transform"])
def test_a_stop_right_after_the_record_was_made_is_not_lost(place, kind):
    """The only slot is taken, so the job waits, and a stop that reaches it ends it at once."""
    model = place.identity("model", REGION, "model")
    place.records.insert(model, {"PrimaryContainer": {"Image": "toy"}}, 0)
    jobs = TrainingJobs(place) if kind == "training" else TransformJobs(place)
    member = {"training": "TrainingJob", "transform": "TransformJob"}[kind]
    request = {"training": TRAINING, "transform": TRANSFORM}[kind]
    named = {f"{member}Name": "job"}
    place.records.stopper = threading.Thread(target=jobs.stop, args=(REGION, named))
    free = threading.Event()
    place.runner.submit("first", lambda control: free.wait(), lambda: None)
    try:
        jobs.create(REGION, request)
        place.records.stopper.join()
        status = jobs.describe(REGION, named)[f"{member}Status"]
    finally:
        free.set()
    assert status == "Stopped"


def test_what_could_not_be_recorded_does_not_run():
    runner = JobRunner(1)
    ran = threading.Event()

    def taken() -> None:
        raise ApiError("ResourceInUse", "taken")

    with pytest.raises(ApiError):
        runner.submit("job", lambda control: ran.set(), taken)
    assert not runner.stop("job")
    runner.close()
    assert not ran.is_set()
