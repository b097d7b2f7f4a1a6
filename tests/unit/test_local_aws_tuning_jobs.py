"""Tuning jobs over real records, logs and requests; training is simulated, without processes."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import pytest

from fmrec.local_aws.algorithms import Algorithm, Metric
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.machine.fault_plan import FaultPlan
from fmrec.local_aws.machine.runner import JobControl, ServerClosingError
from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.log_groups import LogGroups
from fmrec.local_aws.state.records import Records
from fmrec.local_aws.training.jobs import TrainingJobs
from fmrec.local_aws.tuning import run as tuning_run
from fmrec.local_aws.tuning.curves import CurveReader
from fmrec.local_aws.tuning.definitions import definitions_of
from fmrec.local_aws.tuning.jobs import TuningJobs
from fmrec.local_aws.workplace import Workplace

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/r"
OBJECTIVE = {"Type": "Minimize", "MetricName": "loss"}


class Killed(BaseException):
    """The server is killed."""


class Mortal(Records):
    """Records during whose n-th change from now on, before or after it, the server is killed."""

    left = -1
    before = True

    def insert(self, identity, document, now):
        return self._dying(lambda: super(Mortal, self).insert(identity, document, now))

    def update(self, identity, change, now):
        return self._dying(lambda: super(Mortal, self).update(identity, change, now))

    def _dying(self, write):
        self.left -= 1
        if self.left == 0 and self.before:
            raise Killed
        result = write()
        if self.left == 0:
            raise Killed
        return result


class Simulation:
    """Takes the place of the runner. A training job ends when its tuning job next waits.

    Its objective is what `outcome` makes of its hyperparameters, None for a failure.
    """

    def __init__(self):
        self.waiting = []
        self.started = []
        self.most = 0
        self.outcome = lambda values: float(values["x"])
        self.place = None
        self.time = 1000.0

    def submit(self, name, job, record, *, supervises=False):
        record()
        if not supervises:
            self.started.append(name)
            self.waiting.append(name)
            self.most = max(self.most, len(self.waiting))

    def stop(self, name):
        """Say that a training job had not begun, so that it ends at once."""
        if name in self.waiting:
            self.waiting.remove(name)
            return True
        return False

    def end_oldest(self):
        self.time += 1
        if self.waiting:
            self.end(self.waiting.pop(0))

    def end(self, name, reason=None):
        identity = self.place.identity("training-job", REGION, name.rpartition("/")[2])
        run = TrainingJobs(self.place).run(identity)
        document = self.place.records.find(identity)
        value = None if reason else self.outcome(document["HyperParameters"])
        if value is None:
            run.fail(reason or "AlgorithmError: it broke")
            return
        metrics = [{"MetricName": "loss", "Value": value, "Timestamp": 0.0}]
        Records.update(
            self.place.records,
            identity,
            lambda document: document.update(FinalMetricDataList=metrics),
            self.time,
        )
        run._finish("Completed")


class Waiting(threading.Event):
    """The stop of a control: whoever waits for it lets time pass."""

    def __init__(self, simulation):
        super().__init__()
        self._simulation = simulation

    def wait(self, timeout=None):
        self._simulation.end_oldest()
        return self.is_set()


@pytest.fixture
def simulation():
    return Simulation()


@pytest.fixture
def place(tmp_path, simulation, monkeypatch):
    monkeypatch.setattr(tuning_run, "time", SimpleNamespace(sleep=lambda seconds: None))
    database = Database(tmp_path / "db.sqlite3", power_safe=False)
    simulation.place = Workplace(
        account="123456789012",
        folder=tmp_path / "jobs",
        records=Mortal(database),
        s3=None,
        logs=LogGroups("123456789012", database, lambda: simulation.time),
        ledger=None,
        runner=simulation,
        algorithms={
            "toy": Algorithm(train=("false",), serve=("false",)),
            "factory": Algorithm(
                train=("false",),
                serve=("false",),
                built_in=True,
                metrics=(Metric("test:accuracy", "a=(.*)"), Metric("train:loss", "l=(.*)")),
            ),
        },
        faults=FaultPlan(tmp_path / "faults.json"),
        clock=lambda: simulation.time,
        stop_grace=1,
        threads=1,
    )
    yield simulation.place
    database.close()


def request(name="tuned", *, strategy="Random", jobs=6, parallel=2, **members):
    definition = {
        "AlgorithmSpecification": {
            "TrainingImage": "toy",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large"},
        "StoppingCondition": {},
        **members.pop("definition", {}),
    }
    given = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": jobs,
                "MaxParallelTrainingJobs": parallel,
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]
            },
            "RandomSeed": 3,
            **members.pop("config", {}),
        },
        "TrainingJobDefinition": definition,
        **members,
    }
    return {key: value for key, value in given.items() if value is not None}


def run(place, simulation, name="tuned"):
    """Run a tuning job to its end, as the runner would."""
    jobs = TuningJobs(place)
    control = JobControl()
    control.stop = Waiting(simulation)
    jobs.run(jobs.identity(REGION, {"HyperParameterTuningJobName": name}))(control)
    return jobs.describe(REGION, {"HyperParameterTuningJobName": name})


def children(place, name="tuned", **given):
    asked = {"HyperParameterTuningJobName": name, "MaxResults": 100, **given}
    return TuningJobs(place).list_training_jobs(REGION, asked)["TrainingJobSummaries"]


def tried(place, name="tuned"):
    return [item["TunedHyperParameters"]["x"] for item in children(place, name)]


def test_a_job_from_its_beginning_to_its_end(place, simulation):
    TuningJobs(place).create(REGION, request())
    document = run(place, simulation)
    assert document["HyperParameterTuningJobStatus"] == "Completed"
    assert simulation.most == 2
    assert len(simulation.started) == len(set(simulation.started)) == 6
    assert document["BestTrainingJob"]["TunedHyperParameters"] == {
        "x": min(tried(place), key=float)
    }
    assert document["ConsumedResources"]["RuntimeInSeconds"] == simulation.time - 1000


def changes_of_a_whole_run(place, simulation):
    TuningJobs(place).create(REGION, request("whole"))
    place.records.left = 10**6
    run(place, simulation, "whole")
    return 10**6 - place.records.left


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_killed_at_any_change_of_its_records(place, simulation, strategy):
    """Whenever the server is killed, the next one starts what is missing, and nothing twice."""
    changes = changes_of_a_whole_run(place, simulation)
    assert changes > 20
    for kill, before in itertools.product(range(1, changes + 1), (True, False)):
        simulation.started.clear()
        name = f"k{kill}{'b' if before else 'a'}"
        TuningJobs(place).create(REGION, request(name, strategy=strategy))
        place.records.left, place.records.before = kill, before
        try:
            run(place, simulation, name)
        except Killed:
            place.records.left = -1
            simulation.waiting.clear()
            for child in children(place, name, StatusEquals="InProgress"):
                reason = "InternalServerError: restarted while the job was running"
                simulation.end(child["TrainingJobArn"], reason)
        place.records.left = -1
        document = run(place, simulation, name)
        found = children(place, name)
        assert document["HyperParameterTuningJobStatus"] == "Completed"
        assert len(found) == 6
        assert sum(document["TrainingJobStatusCounters"].values()) == 6
        assert len(set(simulation.started)) == len(simulation.started)
        assert set(simulation.started) <= {item["TrainingJobArn"] for item in found}
        if strategy == "Random":
            assert tried(place, name) == tried(place, "whole")


def test_the_end_of_its_time(place, simulation):
    limits = {"MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 120}
    TuningJobs(place).create(REGION, request(config={"ResourceLimits": limits}))
    document = run(place, simulation)
    assert document["HyperParameterTuningJobStatus"] == "Completed"
    assert document["HyperParameterTuningJobConfig"]["ResourceLimits"] == {
        **limits,
        "MaxNumberOfTrainingJobs": 750,
    }
    # A training job takes a second here.
    assert document["TrainingJobStatusCounters"]["Completed"] in (119, 120)
    assert document["ConsumedResources"]["RuntimeInSeconds"] in (120, 121)


def test_a_server_that_ends_leaves_its_job_as_it_is(place, simulation):
    jobs = TuningJobs(place)
    jobs.create(REGION, request())
    control = JobControl()
    control.stop = Waiting(simulation)
    control.closing.set()
    with pytest.raises(ServerClosingError):
        jobs.run(jobs.identity(REGION, request()))(control)
    assert jobs.describe(REGION, request())["HyperParameterTuningJobStatus"] == "InProgress"
    assert run(place, simulation)["TrainingJobStatusCounters"]["Completed"] == 6


def test_a_deleted_training_job_is_not_started_again(place, simulation):
    jobs = TuningJobs(place)
    jobs.create(REGION, request(jobs=4, parallel=1))
    seen = []

    def outcome(values):
        for item in children(place, StatusEquals="Completed"):
            TrainingJobs(place).delete(REGION, {"TrainingJobName": item["TrainingJobName"]})
        seen.append(values["x"])
        return 1.0

    simulation.outcome = outcome
    document = run(place, simulation)
    assert len(seen) == len(set(seen)) == 4
    assert document["TrainingJobStatusCounters"]["Completed"] == 4
    assert len(children(place)) == 1


def test_a_training_job_that_is_refused_later_fails_the_tuning_job(place, simulation):
    TuningJobs(place).create(REGION, request(jobs=4, parallel=1))

    def outcome(values):
        del place.algorithms["toy"]
        return 1.0

    simulation.outcome = outcome
    document = run(place, simulation)
    assert document["HyperParameterTuningJobStatus"] == "Failed"
    assert document["FailureReason"].startswith("ClientError: The local AWS has no algorithm")
    assert len(children(place)) == 1


def test_checkpoints_are_not_shared(place, simulation):
    checkpoints = {"CheckpointConfig": {"S3Uri": "s3://bucket/kept/"}}
    TuningJobs(place).create(REGION, request(definition=checkpoints))
    run(place, simulation)
    for item in children(place):
        identity = place.identity("training-job", REGION, item["TrainingJobName"])
        address = place.records.find(identity)["CheckpointConfig"]["S3Uri"]
        assert address == f"s3://bucket/kept/{item['TrainingJobName']}"


def test_resources_that_the_sdk_sends(place, simulation):
    flexible = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
    for name, given in (
        ("one", flexible),
        ("two", {"InstanceConfigs": [flexible], "AllocationStrategy": "Prioritized"}),
    ):
        asked = request(name, jobs=1, parallel=1)
        definition = asked["TrainingJobDefinition"]
        del definition["ResourceConfig"]
        definition["HyperParameterTuningResourceConfig"] = given
        TuningJobs(place).create(REGION, asked)
        document = run(place, simulation, name)
        assert document["TrainingJobDefinition"]["ResourceConfig"] == flexible
        (child,) = children(place, name)
        identity = place.identity("training-job", REGION, child["TrainingJobName"])
        assert place.records.find(identity)["ResourceConfig"] == flexible


def categories(*values):
    return {"CategoricalParameterRanges": [{"Name": "x", "Values": list(values)}]}


FACTORY = {"TrainingImage": "factory", "TrainingInputMode": "File"}
GRID = {"Strategy": "Grid", "ParameterRanges": categories("1", "2", "3")}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"TrainingJobDefinition": None}, "'trainingJobDefinition' .* must not be null"),
        ({"TrainingJobDefinitions": [{}]}, "not both"),
        ({"config": {"ParameterRanges": {}}}, "at least one"),
        ({"Autotune": {"Mode": "Enabled"}}, "Autotune"),
        ({"jobs": 2, "parallel": 3}, "MaxParallelTrainingJobs 3 must not exceed"),
        ({"config": {"ParameterRanges": categories("1", "2")}}, r"ranges \[2.0\] must be equal"),
        ({"config": GRID}, "possible, 3; it is 6"),
        ({"strategy": "Grid"}, "Only categorical parameters .* 'x' is not"),
        ({"strategy": "Hyperband"}, "could not be inferred"),
        (
            {
                "strategy": "Hyperband",
                "config": {"TrainingJobEarlyStoppingType": "Auto"},
                "definition": {"StaticHyperParameters": {"epochs": "9"}},
            },
            "must be Off",
        ),
        ({"config": {"StrategyConfig": {}}}, "only supported for the Hyperband strategy"),
        ({"definition": {"StaticHyperParameters": {"x": "1"}}}, "'x' is static and has a range"),
        (
            {"definition": {"StaticHyperParameters": {"_tuning_objective_metric": "1"}}},
            "_tuning_objective_metric is reserved",
        ),
        (
            {"config": {"HyperParameterTuningJobObjective": {**OBJECTIVE, "MetricName": "other"}}},
            "A metric is required for this hyperparameter tuning job objective",
        ),
        ({"definition": {"TuningObjective": OBJECTIVE}}, "TrainingJobDefinitions alone"),
        ({"definition": {"AlgorithmSpecification": FACTORY}}, r"\[loss\], isn't valid for the"),
        (
            {
                "definition": {"AlgorithmSpecification": FACTORY},
                "config": {
                    "HyperParameterTuningJobObjective": {
                        "Type": "Minimize",
                        "MetricName": "test:accuracy",
                    }
                },
            },
            r"type, \[Minimize\], .* isn't valid for the \[factory\] algorithm",
        ),
        (
            {
                "definition": {
                    "AlgorithmSpecification": {
                        **FACTORY,
                        "MetricDefinitions": [{"Name": "loss", "Regex": "(.*)"}],
                    }
                }
            },
            "can't override the metric definitions",
        ),
        (
            {"definition": {"HyperParameterTuningResourceConfig": {"InstanceType": "ml.m5.large"}}},
            "either ResourceConfig or",
        ),
        ({"definition": {"ResourceConfig": {}}}, "ResourceConfig without InstanceType"),
    ],
)
def test_requests_that_are_refused(place, members, text):
    with pytest.raises(ApiError, match=text) as caught:
        TuningJobs(place).create(REGION, request(**members))
    assert caught.value.code == "ValidationException"
    assert TuningJobs(place).list(REGION, {})["HyperParameterTuningJobSummaries"] == []


def test_quotas(place):
    for members in ({"jobs": 751}, {"jobs": 200, "parallel": 101}):
        with pytest.raises(ApiError) as caught:
            TuningJobs(place).create(REGION, request(**members))
        assert caught.value.code == "ResourceLimitExceeded"


def test_defaults(place):
    jobs = TuningJobs(place)
    limits = {"ResourceLimits": {"MaxParallelTrainingJobs": 1}}
    jobs.create(REGION, request(config={**GRID, **limits}))
    document = jobs.describe(REGION, request())
    config = document["HyperParameterTuningJobConfig"]
    assert config["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 3
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert set(config["ParameterRanges"]) == {
        "CategoricalParameterRanges",
        "ContinuousParameterRanges",
        "IntegerParameterRanges",
    }
    static = document["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static == {"_tuning_objective_metric": "loss"}


def definition(name, **members):
    single = request()
    return {
        **single["TrainingJobDefinition"],
        "DefinitionName": name,
        "TuningObjective": OBJECTIVE,
        "HyperParameterRanges": single["HyperParameterTuningJobConfig"]["ParameterRanges"],
        **members,
    }


def several(*definitions, **config):
    asked = request(TrainingJobDefinition=None, TrainingJobDefinitions=list(definitions))
    given = asked["HyperParameterTuningJobConfig"]
    del given["ParameterRanges"], given["HyperParameterTuningJobObjective"]
    given.update(config)
    return asked


def test_definitions_that_do_not_go_together(place):
    def refused(text, *given, **config):
        with pytest.raises(ApiError, match=text):
            TuningJobs(place).create(REGION, several(*given, **config))

    maximize = {**OBJECTIVE, "Type": "Maximize"}
    first = definition("a")
    refused("must be unique", first, first)
    refused("objective type must be the same", first, definition("b", TuningObjective=maximize))
    refused("each of the TrainingJobDefinitions has its own", first, ParameterRanges={})
    del first["TuningObjective"]
    refused("'trainingJobDefinitions.1.member.tuningObjective'", first)


def test_definitions_have_searches_of_their_own(place, simulation):
    halves = [
        definition(
            name,
            HyperParameterRanges={
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high}]
            },
        )
        for name, low, high in (("low", "0", "1"), ("high", "10", "11"))
    ]
    for strategy in ("Random", "Bayesian"):
        asked = {**several(*halves, Strategy=strategy), "HyperParameterTuningJobName": strategy}
        TuningJobs(place).create(REGION, asked)
        document = run(place, simulation, strategy)
        assert [float(x) > 5 for x in tried(place, strategy)] == [False, True] * 3
        assert document["BestTrainingJob"]["TrainingJobDefinitionName"] == "low"


def warm(kind, *parents):
    named = [{"HyperParameterTuningJobName": name} for name in parents]
    return {"WarmStartType": kind, "ParentHyperParameterTuningJobs": named}


@pytest.fixture
def parent(place, simulation):
    static = {"a": "1", "b": "2"}
    TuningJobs(place).create(
        REGION, request("parent", jobs=3, definition={"StaticHyperParameters": static})
    )
    return run(place, simulation, "parent")


IDENTICAL = "IdenticalDataAndAlgorithm"


def child_of(*parents, kind=IDENTICAL, static=None, **members):
    fixed = {"a": "1", "b": "2"} if static is None else static
    return request(
        "child",
        WarmStartConfig=warm(kind, *parents),
        definition={"StaticHyperParameters": fixed},
        **members,
    )


@pytest.mark.parametrize(("worth", "whose"), [(2.0, "parent"), (-2.0, "child")])
def test_the_best_of_a_warm_start(place, simulation, parent, worth, whose):
    simulation.outcome = lambda values: worth
    TuningJobs(place).create(REGION, child_of("parent", jobs=2))
    document = run(place, simulation, "child")
    assert document["OverallBestTrainingJob"]["TuningJobName"] == whose
    assert document["BestTrainingJob"]["TrainingJobName"].startswith("child-")
    # The parents may be deleted meanwhile; their training jobs stay.
    TuningJobs(place).delete(REGION, {"HyperParameterTuningJobName": "parent"})
    assert document["OverallBestTrainingJob"]["TrainingJobName"].startswith(whose)


def test_parents_tell_a_bayesian_search_where_to_begin(place, simulation):
    simulation.outcome = lambda values: (float(values["x"]) - 0.3) ** 2
    TuningJobs(place).create(REGION, request("parent", jobs=40))
    run(place, simulation, "parent")
    asked = request("child", strategy="Bayesian", jobs=6, parallel=1)
    TuningJobs(place).create(
        REGION, {**asked, "WarmStartConfig": warm("TransferLearning", "parent")}
    )
    document = run(place, simulation, "child")
    assert "OverallBestTrainingJob" not in document
    near = [abs(float(x) - 0.3) < 0.15 for x in tried(place, "child")]
    assert sum(near) >= 4  # by chance it would be about two


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"static": {"a": "1"}}, "set of tunable plus static HyperParameter names is not the same"),
        (
            {"config": {"ParameterRanges": categories(*"123456")}},
            "type of the hyperparameter 'x' must not change",
        ),
        (
            {"config": {"HyperParameterTuningJobObjective": {**OBJECTIVE, "Type": "Maximize"}}},
            "objective metric .* must be the same",
        ),
        ({"jobs": 748}, "Number of training jobs .* is 750, with current utilization of 3"),
    ],
)
def test_a_warm_start_that_is_refused(place, parent, members, text):
    with pytest.raises(ApiError, match=text):
        TuningJobs(place).create(REGION, child_of("parent", **members))


def test_parents_that_are_refused(place, simulation, parent):
    def refused(text, *parents):
        with pytest.raises(ApiError, match=text):
            TuningJobs(place).create(REGION, child_of(*parents))

    refused("more than once", "parent", "parent")
    refused("can't find a tuning job called nobody", "parent", "nobody")
    TuningJobs(place).create(REGION, request("waiting"))
    refused("waiting is in status InProgress", "waiting")


def test_static_and_tuned_may_change_places(place, simulation, parent):
    ranges = {"ContinuousParameterRanges": [{"Name": "a", "MinValue": "0", "MaxValue": "1"}]}
    asked = child_of("parent", static={"b": "2", "x": "7"}, config={"ParameterRanges": ranges})
    TuningJobs(place).create(REGION, asked)
    assert run(place, simulation, "child")["HyperParameterTuningJobStatus"] == "Completed"


def test_a_warm_start_allows_ten_changes(place, simulation):
    former = {f"p{number}": "1" for number in range(6)}
    TuningJobs(place).create(
        REGION, request("parent", jobs=1, parallel=1, definition={"StaticHyperParameters": former})
    )
    run(place, simulation, "parent")
    with pytest.raises(ApiError, match="12 changes"):
        TuningJobs(place).create(REGION, child_of("parent", static=dict.fromkeys(former, "2")))
    TuningJobs(place).create(
        REGION, child_of("parent", static={**dict.fromkeys(former, "2"), "p0": "1"})
    )


def test_curves_are_read_from_the_log_as_it_grows(place, simulation):
    TuningJobs(place).create(REGION, request(jobs=1, parallel=1))
    document = run(place, simulation)
    (child,) = children(place)
    name, group = child["TrainingJobName"], "/aws/sagemaker/TrainingJobs"
    log = place.logs.stream(REGION, group, f"{name}/algo-1-1000")
    second = place.logs.stream(REGION, group, f"{name}/algo-2-1000")
    other = place.logs.stream(REGION, group, f"{name}0/algo-1-1000")
    (given,) = definitions_of(document)
    reader = CurveReader(place, REGION)
    trial = SimpleNamespace(name=name)
    assert reader.read(trial, given) == []
    log.write(["begin", "loss=3", "x loss=2.5", "loss=much", "loss=nan"])
    second.write(["loss=99"])
    other.write(["loss=98"])
    assert reader.read(trial, given) == [3.0, 2.5]
    assert reader.read(trial, given) == [3.0, 2.5]
    log.write(["loss=1"])
    assert reader.read(trial, given) == [3.0, 2.5, 1.0]
    again = place.logs.stream(REGION, group, f"{name}/algo-1-1001")
    again.write(["loss=0.5"])
    assert reader.read(trial, given) == [3.0, 2.5, 1.0, 0.5]
    assert CurveReader(place, REGION).read(trial, given) == [3.0, 2.5, 1.0, 0.5]
