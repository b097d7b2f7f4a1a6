from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from fmrec.local_aws.__main__ import main
from fmrec.local_aws.machine.containers import ContainerLedger
from fmrec.local_aws.machine.orphan_watch import OrphanWatch
from fmrec.local_aws.state.database import Database

pytestmark = pytest.mark.e2e

RESTARTED = "InternalServerError: the local AWS was restarted while the job was running"


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def log_of(server, job: str) -> list[str]:
    logs = server.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [
        event["message"]
        for stream in streams["logStreams"]
        for event in logs.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
    ]


def pid_of(server, job: str) -> int | None:
    told = [line for line in log_of(server, job) if line.startswith("pid ")]
    return int(told[0].split()[1]) if told else None


def group_of(pid: int) -> list[psutil.Process]:
    return [
        item for item in psutil.process_iter() if running(item.pid) and os.getpgid(item.pid) == pid
    ]


def watch_of(server) -> psutil.Process:
    """Return the process that ends the jobs' processes when the server is killed."""
    children = psutil.Process(server.process.pid).children()
    (watch,) = [item for item in children if "orphan_watch" in " ".join(item.cmdline())]
    return watch


def test_a_killed_server_leaves_no_process(tmp_path, start, training_request, wait_for):
    with start(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        sagemaker = server.client("sagemaker")
        for name in ("stopping", "running"):
            sagemaker.create_training_job(
                **training_request(name, "bucket", seconds=600, ignore_sigterm=1, child=1)
            )
        pids = [
            wait_for(lambda name=name: pid_of(server, name)) for name in ("stopping", "running")
        ]
        sagemaker.stop_training_job(TrainingJobName="stopping")
        left = [item for pid in pids for item in group_of(pid)]
        assert len(left) == 4
        left.append(watch_of(server))
        # The signals that end everything of a terminal or a service do not end the watch early.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            left[-1].send_signal(number)
        server.kill()
        wait_for(lambda: not [item for item in left if running(item.pid)])


def test_the_watch_kills_the_groups_that_are_still_listed():
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    listed, removed, never = (subprocess.Popen(sleep, start_new_session=True) for _ in range(3))
    try:
        watch = OrphanWatch()
        watch.add(removed.pid)
        watch.add(listed.pid)
        watch.remove(removed.pid)
        watch.close()
        assert listed.wait(10) == -signal.SIGKILL
        assert (removed.poll(), never.poll()) == (None, None)
    finally:
        for process in (listed, removed, never):
            process.kill()
            process.wait()


def test_kill_in_mid_training(tmp_path, start, training_request, finished, wait_for):
    with start(tmp_path, stop_grace=120) as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="data", Body=b"precious", Metadata={"origin": "test"})
        sagemaker.create_training_job(**training_request("done", "kept", lines=3))
        before = finished(sagemaker, "done")
        log_before = log_of(server, "done")
        sagemaker.create_training_job(**training_request("cut-off", "kept", seconds=600, child=1))
        pid = wait_for(lambda: pid_of(server, "cut-off"))
        request = training_request("stopping", "kept", seconds=600, ignore_sigterm=1)
        sagemaker.create_training_job(**request)
        wait_for(lambda: pid_of(server, "stopping"))
        sagemaker.stop_training_job(TrainingJobName="stopping")
        sagemaker.create_training_job(**training_request("queued", "kept"))
        group = group_of(pid)
        assert len(group) == 2
        watch_of(server).kill()  # then what the server leaves behind lives until the next start
        server.kill()
        assert running(pid)

    with start(tmp_path) as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        assert not [item for item in group if running(item.pid)]
        # What never had its turn has it now.
        assert finished(sagemaker, "queued")["TrainingJobStatus"] == "Completed"
        for name in ("cut-off", "stopping"):
            job = sagemaker.describe_training_job(TrainingJobName=name)
            assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
            assert job["FailureReason"] == RESTARTED
            assert job["SecondaryStatusTransitions"][-1]["Status"] == "Failed"
        after = sagemaker.describe_training_job(TrainingJobName="done")
        del before["ResponseMetadata"], after["ResponseMetadata"]
        assert after == before
        assert log_of(server, "done") == log_before
        assert len(log_before) == 5
        found = s3.get_object(Bucket="kept", Key="data")
        assert (found["Body"].read(), found["Metadata"]) == (b"precious", {"origin": "test"})
        assert s3.head_object(Bucket="kept", Key="out/done/output/model.tar.gz")
        # The folder is in working order: another job runs.
        sagemaker.create_training_job(**training_request("next", "kept"))
        assert finished(sagemaker, "next")["TrainingJobStatus"] == "Completed"


def test_a_process_that_took_over_a_left_over_id_is_no_target(tmp_path):
    """A row whose start time is not that of the process now under its id must be ignored."""
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        database = Database(tmp_path / "sagemaker.sqlite3", power_safe=False)
        watch = OrphanWatch()
        ledger = ContainerLedger(database, watch)
        ledger.add(stranger.pid)
        with database.transaction() as connection:
            connection.execute("UPDATE containers SET started = started - 100")
        assert ledger.end_left_over() == []
        assert running(stranger.pid)
        ledger.add(stranger.pid)
        assert ledger.end_left_over() == [stranger.pid]
        assert stranger.wait(10) == -signal.SIGKILL
        watch.close()
        database.close()
    finally:
        stranger.kill()
        stranger.wait()


def test_sigterm_ends_the_server_and_its_children(tmp_path, start, training_request, wait_for):
    with start(tmp_path, stop_grace=120) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        server.client("sagemaker").create_training_job(
            **training_request("job", "bucket", seconds=600, ignore_sigterm=1)
        )
        pid = wait_for(lambda: pid_of(server, "job"))
        assert server.terminate() == 0
        assert not running(pid)
    with start(tmp_path) as server:
        job = server.client("sagemaker").describe_training_job(TrainingJobName="job")
        assert job["FailureReason"] == RESTARTED


def test_a_second_server_on_the_same_state_is_refused(tmp_path, start):
    with start(tmp_path) as server:
        command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0", "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 2
        assert second.stdout == ""
        assert f"process {server.process.pid}" in second.stderr
        assert str(tmp_path) in second.stderr
        assert server.client("s3").list_buckets()["Buckets"] == []


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "fmrec.local_aws", "--port", port, "--state"]
        failed = subprocess.run(
            [*command, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
    assert failed.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.com"])  # noqa: S104
def test_only_loopback_unless_told(tmp_path, capsys, host):
    assert main(["--host", host, "--port", "0", "--state", str(tmp_path / "state")]) == 2
    assert "--allow-remote" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_the_server_goes_with_the_parent(tmp_path, training_request):
    """kill -9 of the process that started the server leaves nothing behind."""
    launcher = (
        "import subprocess, sys, time\n"
        "server = subprocess.Popen([sys.executable, '-m', 'fmrec.local_aws', '--port', '0',"
        f" '--exit-with-parent', '--state', {str(tmp_path)!r}], stdin=subprocess.PIPE)\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True)
    lines = [parent.stdout.readline() for _ in range(2)]
    pid = next(int(line) for line in lines if line.strip().isdecimal())
    assert any(line.startswith("local AWS ready on http://127.0.0.1:") for line in lines)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 30
    while running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not running(pid)


def test_stdout_holds_the_ready_line_alone(tmp_path, start):
    with start(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        assert server.terminate() == 0
        assert server.process.stdout.read() == ""


def test_an_orderly_end_leaves_the_queue_as_it_was(tmp_path, start, training_request, wait_for):
    """Of forty jobs two have begun; the others have their turn after the next start."""
    names = [f"job-{number:02}" for number in range(40)]
    with start(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        sagemaker = server.client("sagemaker")
        for name in names[:2]:
            sagemaker.create_training_job(**training_request(name, "bucket", seconds=600))
        for name in names[2:]:
            sagemaker.create_training_job(**training_request(name, "bucket"))
        for name in names[:2]:
            wait_for(lambda name=name: pid_of(server, name))
        assert server.terminate() == 0
    with start(tmp_path) as server:
        sagemaker = server.client("sagemaker")

        def statuses() -> list[str]:
            listed = sagemaker.list_training_jobs(MaxResults=100, SortBy="Name")
            return [job["TrainingJobStatus"] for job in listed["TrainingJobSummaries"]]

        wait_for(lambda: "InProgress" not in statuses())
        assert statuses() == ["Failed"] * 2 + ["Completed"] * 38
        assert not list((tmp_path / "jobs").glob("training-job/*/*"))


def test_a_queued_job_whose_image_is_gone_fails_and_runs_nothing(
    tmp_path, start, training_request, finished
):
    images = tmp_path / "images.toml"
    images.write_text('[images.mine]\ntrain = ["true"]\n')
    options = ("--images", str(images))
    with start(tmp_path / "state", *options) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        sagemaker = server.client("sagemaker")
        for name in ("first", "second"):
            sagemaker.create_training_job(**training_request(name, "bucket", seconds=600))
        request = training_request("queued", "bucket", image="mine")
        request["AlgorithmSpecification"]["ContainerArguments"] = ["touch", str(tmp_path / "ran")]
        sagemaker.create_training_job(**request)
        server.kill()
    images.write_text('[images.mine]\nserve = ["true"]\n')
    with start(tmp_path / "state", *options) as server:
        job = finished(server.client("sagemaker"), "queued")
        assert job["TrainingJobStatus"] == "Failed"
        assert job["FailureReason"].startswith("ClientError: ")
    assert not (tmp_path / "ran").exists()
