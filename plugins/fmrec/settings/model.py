"""What a run is told of its model: what it learns, from what, by which solver."""

from __future__ import annotations

from dataclasses import dataclass

from fmrec.settings.data import DataSettings
from fmrec.settings.fields import setting

WITH_HISTORIES = ("history", "profile", "full", "everything")


@dataclass(frozen=True, kw_only=True)
class ModelSettings(DataSettings):
    """The choices of a run that its model depends on."""

    objective: str = setting(
        "rating",
        "Model",
        "Objective",
        "`rating`: predict the stars (regressor). `like`: predict rating >= 4 (binary "
        "classifier). `ranking`: lists of films (built-in image: a classifier of likes and "
        "sampled unseen films; own image: graded ratings).",
        enum=["rating", "like", "ranking"],
    )
    features: str = setting(
        "ids",
        "Model",
        "Features",
        "Columns of the design matrix: `ids` users and films; `side` also what is known of them; "
        "`history` ids, who rated what, and the film before; `profile` what is known and who "
        "rated what; `full` also the day and the user's visit; `everything` all (docs/data.md).",
        enum=["ids", "side", *WITH_HISTORIES],
    )
    history_length: int | None = setting(
        None,
        "Model",
        "Length of histories",
        "Features from `history` to `everything`: the latest so many films of a user, and users "
        "of a film. Empty: all; 30 for solver `adam`, whose rows are written out whole.",
        minimum=1,
        maximum=10_000,
    )
    negative_ratio: int = setting(
        16,
        "Model",
        "Unseen films for each like",
        "Objective `ranking`, built-in image: so many are sampled.",
        minimum=1,
        maximum=1_000,
    )
    negative_exponent: float = setting(
        0.5,
        "Model",
        "Popularity of unseen films",
        "They are sampled in proportion to their ratings to this power: 0 all alike, 1 as popular.",
        minimum=0.0,
        maximum=2.0,
    )
    solver: str | None = setting(
        None,
        "Model",
        "Solver",
        "How the machine is fitted. `adam`: what the built-in image does. Image `fmrec` has two "
        "more: `mcmc`, Bayesian, the most accurate for ratings and likes; `catalogue`, for "
        "rankings. Empty: what fits the image and the objective.",
        enum=["adam", "mcmc", "catalogue"],
    )
    image: str = setting(
        "built-in",
        "Model",
        "Image",
        "The algorithm's container: SageMaker's built-in Factorization Machines, or `fmrec`, this "
        "project's own (on AWS the image that FMREC_IMAGE_URI names).",
        enum=["built-in", "fmrec"],
    )
    num_factors: int | None = setting(
        None,
        "Hyperparameters",
        "Factors",
        "Length of each column's factor vector.",
        minimum=1,
        maximum=10_000,
    )
    iterations: int | None = setting(
        None, "Hyperparameters", "Iterations", "Solver `mcmc`: sweeps of each chain.", minimum=1
    )
    burn_in: int | None = setting(
        None,
        "Hyperparameters",
        "Burn-in",
        "Solver `mcmc`: sweeps of each chain that no sample is taken of.",
        minimum=0,
    )
    chains: int | None = setting(
        None, "Hyperparameters", "Chains", "Solver `mcmc`: as many are averaged.", minimum=1
    )
    samples: int | None = setting(
        None,
        "Hyperparameters",
        "Samples",
        "Solver `mcmc`: drawn models in the artifact, which has samples x factors in all.",
        minimum=1,
    )
    epochs: int | None = setting(
        None, "Hyperparameters", "Epochs", "Passes over the training rows or users.", minimum=1
    )
    mini_batch_size: int | None = setting(
        None,
        "Hyperparameters",
        "Mini-batch size",
        "Rows of one update; solver `catalogue`: users.",
        minimum=1,
    )
    bias_lr: float | None = setting(
        None, "Hyperparameters", "Bias learning rate", "Step size of the bias.", minimum=0.0
    )
    linear_lr: float | None = setting(
        None,
        "Hyperparameters",
        "Linear learning rate",
        "Step size of the linear weights.",
        minimum=0.0,
    )
    factors_lr: float | None = setting(
        None, "Hyperparameters", "Factors learning rate", "Step size of the factors.", minimum=0.0
    )
    bias_wd: float | None = setting(
        None, "Hyperparameters", "Bias weight decay", "L2 pull on the bias.", minimum=0.0
    )
    linear_wd: float | None = setting(
        None,
        "Hyperparameters",
        "Linear weight decay",
        "L2 pull on the linear weights.",
        minimum=0.0,
    )
    factors_wd: float | None = setting(
        None, "Hyperparameters", "Factors weight decay", "L2 pull on the factors.", minimum=0.0
    )
    factors_init_sigma: float | None = setting(
        None,
        "Hyperparameters",
        "Factors initial spread",
        "Standard deviation of the factors before training.",
        exclusiveMinimum=0.0,
    )
    dropout: float | None = setting(
        None,
        "Hyperparameters",
        "Dropout",
        "Solver `catalogue`: share of a user's history that is left out in training.",
        minimum=0.0,
        maximum=0.99,
    )
    als_factors: int | None = setting(
        None,
        "Hyperparameters",
        "ALS factors",
        "Solver `catalogue`: factors of an implicit ALS model beside the others; 0 for none.",
        minimum=0,
        maximum=10_000,
    )
