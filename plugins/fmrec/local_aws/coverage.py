"""What of SageMaker is implemented, as data: docs/local-aws-coverage.md is made from it.

A path names a request member as botocore does, ``[]`` stands for the members of a list, and
``=value`` for one value of several. The tests send every refused path, look every other one up in
Describe, and find members that stand in no list and in no code.
"""

from __future__ import annotations

from collections.abc import Mapping

Paths = tuple[str, ...]

GROUPS: Mapping[str, Paths] = {
    "Training": (
        *("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob"),
        "DeleteTrainingJob",
    ),
    "Hyperparameter tuning": (
        *("CreateHyperParameterTuningJob", "DescribeHyperParameterTuningJob"),
        *("ListHyperParameterTuningJobs", "StopHyperParameterTuningJob"),
        *("DeleteHyperParameterTuningJob", "ListTrainingJobsForHyperParameterTuningJob"),
    ),
    "Models": ("CreateModel", "DescribeModel", "ListModels", "DeleteModel"),
    "Batch transform": (
        *("CreateTransformJob", "DescribeTransformJob", "ListTransformJobs", "StopTransformJob"),
    ),
    "Processing": (
        *("CreateProcessingJob", "DescribeProcessingJob", "ListProcessingJobs"),
        *("StopProcessingJob", "DeleteProcessingJob"),
    ),
    "Endpoints": (
        *("CreateEndpointConfig", "DescribeEndpointConfig", "ListEndpointConfigs"),
        *("DeleteEndpointConfig", "CreateEndpoint", "DescribeEndpoint", "ListEndpoints"),
        *("UpdateEndpoint", "UpdateEndpointWeightsAndCapacities", "DeleteEndpoint"),
    ),
    "Model registry": (
        *("CreateModelPackageGroup", "DescribeModelPackageGroup", "ListModelPackageGroups"),
        *("DeleteModelPackageGroup", "CreateModelPackage", "DescribeModelPackage"),
        *("ListModelPackages", "UpdateModelPackage", "DeleteModelPackage"),
        "BatchDescribeModelPackage",
    ),
    "Tags": ("AddTags", "ListTags", "DeleteTags"),
    "Search": ("Search",),
}
# Of SageMaker Runtime.
RUNTIME: Paths = ("InvokeEndpoint",)


def _below(prefix: str, *members: str) -> Paths:
    return tuple(f"{prefix}.{member}" for member in members)


_S3_SOURCE = "InputDataConfig[].DataSource.S3DataSource"
_DEFINITION = "TrainingJobDefinition"
_JOB_OF_A_SEARCH: Paths = (
    *_below("AlgorithmSpecification", "AlgorithmName", "TrainingInputMode=Pipe"),
    *_below("InputDataConfig[].DataSource", "FileSystemDataSource", "DatasetSource"),
    *_below(_S3_SOURCE, "S3DataType=AugmentedManifestFile", "S3DataType=Converse"),
    *_below(_S3_SOURCE, "AttributeNames", "InstanceGroupNames", "ModelAccessConfig"),
    *_below(_S3_SOURCE, "HubAccessConfig"),
    *_below("InputDataConfig[]", "ShuffleConfig", "InputMode=Pipe"),
    "OutputDataConfig.CompressionType=NONE",
    *_below("ResourceConfig", "InstanceGroups", "InstanceCount=17"),
)
_ARCHIVE = "ModelDataSource.S3DataSource"
_CONTAINER: Paths = (
    *("AdditionalModelDataSources", "ImageConfig", "InferenceSpecificationName"),
    *("Mode=MultiModel", "MultiModelConfig"),
    *_below(_ARCHIVE, "CompressionType=None", "HubAccessConfig", "ManifestS3Uri"),
    *_below(_ARCHIVE, "ModelAccessConfig", "S3DataType=S3Prefix"),
)
_VARIANT: Paths = (
    *("AcceleratorType", "CapacityReservationConfig", "CoreDumpConfig", "InstancePools"),
    *("ManagedInstanceScaling", "RoutingConfig.RoutingStrategy=PREFIX_AWARE"),
    "VariantInstanceProvisionTimeoutInSeconds",
)

# Members that AWS would honour and the local AWS answers with a ValidationException.
REFUSED: Mapping[str, Paths] = {
    "CreateTrainingJob": (
        *_JOB_OF_A_SEARCH,
        *_below("AlgorithmSpecification", "ContainerEntrypoint", "TrainingImageConfig"),
        *("DebugRuleConfigurations", "MlflowConfig", "ModelPackageConfig"),
        *("ProfilerRuleConfigurations", "ServerlessJobConfig", "SessionChainingConfig"),
        "TensorBoardOutputConfig",
    ),
    "ListTrainingJobs": ("TrainingPlanArnEquals", "WarmPoolStatusEquals"),
    "CreateHyperParameterTuningJob": (
        "Autotune",
        "HyperParameterTuningJobConfig.ParameterRanges.AutoParameters",
        *_below(_DEFINITION, *_JOB_OF_A_SEARCH),
    ),
    "CreateModel": ("InferenceExecutionConfig", *_below("PrimaryContainer", *_CONTAINER)),
    "CreateTransformJob": (
        *_below(
            "TransformInput.DataSource.S3DataSource",
            *("S3DataType=AugmentedManifestFile", "S3DataType=Converse"),
        ),
        "TransformResources.InstanceCount=17",
    ),
    "CreateProcessingJob": (
        "AppSpecification.ContainerEntrypoint",
        *_below("ProcessingInputs[]", "AppManaged=True", "DatasetDefinition"),
        "ProcessingInputs[].S3Input.S3InputMode=Pipe",
        *_below("ProcessingOutputConfig.Outputs[]", "AppManaged=True", "FeatureStoreOutput"),
        *_below("ProcessingResources.ClusterConfig", "InstanceCount=17", "InstancePreferences"),
        *_below(
            "ProcessingResources.ClusterConfig", "SelectedInstanceType", "SelectedInstanceCount"
        ),
    ),
    "CreateEndpointConfig": (
        *("AsyncInferenceConfig", "ExplainerConfig", "MetricsConfig", "ShadowProductionVariants"),
        *_below("ProductionVariants[]", *_VARIANT),
    ),
    "UpdateEndpointWeightsAndCapacities": ("DesiredWeightsAndCapacities[].ServerlessUpdateConfig",),
    "CreateModelPackageGroup": ("ManagedConfiguration",),
    "CreateModelPackage": (
        *("CertifyForMarketplace", "ManagedStorageType", "SourceAlgorithmSpecification"),
        "ValidationSpecification",
    ),
    "DescribeModelPackage": ("IncludedData=MetadataOnly",),
    "Search": (
        *("CrossAccountFilterOption=CrossAccount", "VisibilityConditions"),
        *_below("SearchExpression", "NestedFilters", "Operator=Or", "SubExpressions"),
    ),
}

_RESOURCES: Paths = (
    *("InstancePlacementConfig", "InstancePreferences", "InstanceType"),
    *("KeepAlivePeriodInSeconds", "SelectedInstanceCount", "SelectedInstanceType"),
    *("TrainingPlanArn", "VolumeKmsKeyId", "VolumeSizeInGB"),
)
_TRAINING_WITHOUT_EFFECT: Paths = (
    *("EnableInterContainerTrafficEncryption", "EnableNetworkIsolation", "VpcConfig"),
    "OutputDataConfig.KmsKeyId",
    *_below("ResourceConfig", *_RESOURCES),
    "StoppingCondition.MaxPendingTimeInSeconds",
)

# Members that are accepted and given back by Describe, and that change nothing here.
WITHOUT_EFFECT: Mapping[str, Paths] = {
    "CreateTrainingJob": (
        *_TRAINING_WITHOUT_EFFECT,
        "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
        *("DebugHookConfig", "ExperimentConfig", "InfraCheckConfig", "ProfilerConfig"),
        "RemoteDebugConfig",
    ),
    "CreateHyperParameterTuningJob": (
        *_below(_DEFINITION, *_TRAINING_WITHOUT_EFFECT),
        f"{_DEFINITION}.HyperParameterTuningResourceConfig.AllocationStrategy",
    ),
    "CreateModel": (
        *("EnableNetworkIsolation", "VpcConfig"),
        *_below("PrimaryContainer", "ContainerHostname", "ContainerMetricsConfig"),
        *_below(f"PrimaryContainer.{_ARCHIVE}", "ETag", "ManifestEtag"),
    ),
    "CreateTransformJob": (
        "ExperimentConfig",
        "TransformOutput.KmsKeyId",
        *_below("TransformResources", "InstanceType", "TransformAmiVersion", "VolumeKmsKeyId"),
    ),
    "CreateProcessingJob": (
        *("ExperimentConfig", "NetworkConfig", "ProcessingOutputConfig.KmsKeyId"),
        *_below(
            "ProcessingResources.ClusterConfig", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB"
        ),
    ),
    "CreateEndpointConfig": (
        *("EnableNetworkIsolation", "ExecutionRoleArn", "KmsKeyId", "VpcConfig"),
        "DataCaptureConfig.KmsKeyId",
        *_below(
            "ProductionVariants[]",
            *("EnableSSMAccess", "InferenceAmiVersion", "InstanceType"),
            *("ModelDataDownloadTimeoutInSeconds", "RoutingConfig.PrefixAwareRoutingConfig"),
            *("ServerlessConfig.MaxConcurrency", "ServerlessConfig.ProvisionedConcurrency"),
            "VolumeSizeInGB",
        ),
    ),
    "CreateEndpoint": ("DeploymentConfig",),
    "UpdateEndpoint": ("DeploymentConfig",),
}

# Differences that no request member shows, by subject.
DIFFERENCES: Mapping[str, Paths] = {
    "All operations": (
        "Credentials, roles and permissions are not checked; a role that is named need not exist.",
        "There are no account quotas, and no throttling unless a [fault on purpose](faults.md) "
        "asks for it.",
        "A parameter of the wrong JSON type, or one that SageMaker does not know, is a "
        "`ValidationException`. AWS answers `SerializationException` to the first and ignores the "
        "second.",
        "The message of an error is AWS's own where that was known, else this project's.",
    ),
    "Jobs": (
        "A job starts in milliseconds: there is no instance to launch and no image to pull. "
        "Billable time is the time that it ran, to the full second.",
        "Jobs and their hosts share this machine: two jobs run at once (`--jobs`), of at most 16 "
        "hosts each; the others wait in their first state.",
        "A training channel without objects makes the job `Failed`, with AWS's text; AWS may "
        "refuse CreateTrainingJob with the same text.",
        "Input mode FastFile is File: data are copied before the algorithm starts.",
    ),
    "Hyperparameter tuning": (
        "Bayesian search is Optuna's TPE where SageMaker has a Gaussian process: it looks for the "
        "same thing and tries other values.",
        "MaxParallelTrainingJobs above the number of jobs that run at once makes the queue longer, "
        "not the search faster.",
    ),
    "Search": (
        "It finds training jobs, tuning jobs, endpoints, model packages and their groups, at once; "
        "on AWS it lags behind. Filters on tags and metrics are refused.",
    ),
    "Built-in algorithms": (
        "They are this project's own: [Factorization Machines](algorithm.md), "
        "[k-NN and K-Means](built-in-algorithms.md). Those pages say how close they come.",
        "Metrics that an instance would report (CPU, memory) are missing.",
    ),
    "Endpoints": (
        "Updates shift the traffic at once when every new server is healthy: no canary, no baking "
        "time, no alarms.",
        "Autoscaling calls are answered by moto: policies are kept and never act.",
    ),
    "Other services": (
        "FilterLogEvents of CloudWatch Logs does not look at `logStreamNamePrefix`: name the "
        "streams.",
        "S3 keys with a line break are not possible, and GetObject with PartNumber gives the whole "
        "object.",
        "CloudWatch knows the metrics of training jobs in GetMetricStatistics alone, not in "
        "GetMetricData and ListMetrics.",
        "An assumed role of another account sees its own, empty and forgetful S3.",
    ),
}
