"""Settings of the encoder and of its training."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from ehr_pipeline.typed_settings import option, settings

BIRTH_DECADE = "birth_decade"
"""The name of an attribute computed from the date of birth."""


@settings
class ContrastiveSettings:
    """A contrastive loss in addition to the objective (DeCLUTR, Giorgi et al. 2021, applied to visits): two spans of a patient's
    visits should be nearer to each other than to spans of other patients."""

    weight: float = option(
        "Weight of this loss; the loss of `objective` has weight 1. 0: this loss is not used.", 0.0, ge=0
    )
    anchors: int = option(
        "Largest number of pairs of spans from a chunk. A chunk with fewer than 2 × anchors × most_tokens tokens gives fewer"
        " pairs; a chunk that cannot be cut between visits into two parts of fewest_tokens gives none. Source: 1 or 2 in"
        " DeCLUTR.",
        1,
        ge=1,
    )
    fewest_tokens: int = option("Shortest span, in tokens. Source: 32 in DeCLUTR, for text.", 16, ge=1)
    most_tokens: int = option(
        "Longest span that is drawn, in tokens; the span is then widened to whole visits. Between fewest_tokens and"
        " most_tokens, lengths follow Beta(4, 2) for anchors and Beta(2, 4) for their partners, as in DeCLUTR.",
        128,
        ge=1,
    )
    temperature: float = option(
        "Temperature of the softmax over cosines. Source: 0.05 in DeCLUTR; use a higher one if patients resemble each"
        " other.",
        0.07,
        gt=0,
    )
    age_shift: int = option(
        "The ages in each span are shifted by up to this many years, so that age does not reveal whose span it is. 0: no shift.",
        10,
        ge=0,
    )
    like_age: int = option(
        "A span is compared with spans of patients of the same sex, if known, whose mean age differs by at most this many"
        " years; if there are fewer than four of these, with all other spans. 0: always with all others.",
        10,
        ge=0,
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.fewest_tokens > self.most_tokens:
            yield f"fewest_tokens ({self.fewest_tokens}) must not be more than most_tokens ({self.most_tokens})."


@settings
class MetadataSettings:
    """Attributes of patients that are predicted in addition to the objective (Taylor et al. 2024). Clusters then reflect these
    attributes by construction."""

    weight: float = option(
        "Weight of this loss; the loss of `objective` has weight 1. 0: this loss is not used.", 0.0, ge=0
    )
    attributes: tuple[str, ...] = option(
        "What is predicted: 'sex', 'birth_decade', and attributes in the patient files, except dates and attributes that a task"
        " tests. A value that fewer than 10 training patients have is treated as missing.",
        (),
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.weight and not self.attributes:
            yield "weight is set, but attributes is empty."
        if len(set(self.attributes)) < len(self.attributes):
            yield "attributes names one twice."


@settings
class TransferSettings:
    """How to start the encoder from another study's checkpoint. Used only if `checkpoint` is set."""

    checkpoint: str = option(
        "Folder of another study's checkpoint: the folder `checkpoint` in its encoder_checkpoint, or a model that"
        " `ehr-pipeline export` wrote. Concepts are matched by id; the encoder of this study must have the same shape."
        " Checkpoints are distinguished by their SHA256SUMS files. Empty: the encoder starts from random weights.",
        "",
        role="input",
    )
    use: Literal["tuned", "direct"] = option(
        "'tuned': trained further on this study's patients; 'direct': used as it is, nothing is trained.", "tuned"
    )
    unknown: Literal["names", "mean"] = option(
        "Initial vector of a concept that the other study lacks. 'names': predicted from its name (a ridge regression from"
        " pieces of names to the learned vectors; the mean vector if names predict nothing). 'mean': the mean of all vectors.",
        "names",
    )
    frozen_layers: int = option(
        "Number of lowest layers of the other study's encoder that further training leaves unchanged. Vectors of tokens and"
        " ages are always trained.",
        0,
        ge=0,
    )

    @property
    def trains(self) -> bool:
        """Return whether anything is trained in this study."""
        return not self.checkpoint or self.use == "tuned"


@settings
class EncoderSettings:
    """Shape of the model and how it is trained. A preset supplies all values that the settings file does not set."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        # 12.63 M parameters at a vocabulary of 36,058 concepts.
        "published": {},
        # Small enough for two CPU cores: it trains on the embedded demo in under two minutes.
        "demo": {
            "hidden_size": 128,
            "layers": 2,
            "heads": 4,
            "feed_forward": 256,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "learning_rate": 2e-3,
            "warmup_steps": 100,
            "tokens_per_step": 2048,
            "max_epochs": 4,
        },
        # For hundreds of patients: more, but smaller, updates.
        "small": {
            "hidden_size": 64,
            "layers": 2,
            "heads": 4,
            "feed_forward": 128,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "learning_rate": 2e-3,
            "warmup_steps": 50,
            "tokens_per_step": 1024,
            "max_epochs": 12,
        },
    }

    preset: Literal["published", "demo", "small"] = option(
        "'published' (12.6 M parameters), 'demo' (thousands of patients, two CPU cores) or 'small' (hundreds of patients).",
        "published",
    )
    hidden_size: int = option("Width of the token vectors.", 256, ge=8)
    layers: int = option("Number of transformer layers.", 4, ge=1)
    heads: int = option("Attention heads; hidden_size must be a multiple of this.", 4, ge=1)
    feed_forward: int = option("Width of the feed-forward layers.", 1024, ge=8)
    dropout: float = option("Dropout of hidden states.", 0.1, ge=0, lt=1)
    attention_dropout: float = option(
        "Dropout of attention weights. Any value above 0 prevents fused attention, which costs a fifth of the speed"
        " on a CPU.",
        0.1,
        ge=0,
        lt=1,
    )
    max_positions: int = option(
        "Rows of the position table: ages from 0 to max_positions - 2, plus one row for padding.", 514, ge=16
    )
    age_unit: Literal["year", "quarter"] = option("Unit of the age that is a token's position.", "year")
    context: int = option("Longest chunk, in tokens. Source: 256 in the published run.", 256, ge=8)

    objective: Literal["masked", "next_visit"] = option(
        "What the encoder learns. 'masked': to predict hidden tokens from all of the record around them (Devlin 2019), as in"
        " the published run. 'next_visit': to predict what is recorded at a visit from the earlier visits and the age at the"
        " visit. With 'next_visit', tokens attend only to their own and earlier visits, so the checkpoint needs a model class"
        " from this package (its README says how to load it).",
        "masked",
        later=True,
    )
    contrastive: ContrastiveSettings = option("Contrastive loss between patients.", ContrastiveSettings(), later=True)
    metadata: MetadataSettings = option("Prediction of patients' attributes.", MetadataSettings(), later=True)
    mask_share: float = option(
        "Share of the tokens to predict with the objective 'masked'. Source: 0.15 in BERT (Devlin 2019) and the published run.",
        0.15,
        gt=0,
        lt=1,
    )
    tokens_per_step: int = option("Token slots of one update, over all processes.", 32768, ge=64)
    micro_batch_tokens: int = option(
        "Token slots that a process computes at once; an update is split into as many such batches as needed. 0: 4,096 on a"
        " CPU, 65,536 on a GPU.",
        0,
        role="tuning",
        ge=0,
    )
    learning_rate: float = option("Peak learning rate of AdamW.", 1e-3, gt=0)
    weight_decay: float = option("Weight decay of matrices (not of biases, norms or embeddings).", 0.01, ge=0)
    warmup_steps: int = option(
        "Updates of linear warm-up, but at most a tenth of all updates. The rate then falls along a cosine to a tenth of its"
        " peak.",
        500,
        ge=0,
    )
    output_bias: Literal["zero", "frequency"] = option(
        "Initial bias of the output: 'zero', as in the stock class, or the logarithm of each concept's 'frequency' among the"
        " training tokens, so that no updates are spent on learning which concepts are frequent (Meister 2023).",
        "zero",
        later=True,
    )
    clip_norm: float = option("Largest norm of the gradient.", 1.0, gt=0)
    max_epochs: int = option("Largest number of epochs. Source: 18 in the published run.", 18, ge=1)
    min_improvement: float = option(
        "Smallest relative decrease of a loss that is treated as an improvement. Source: our reading of 'flat' in the published"
        " method, 0.1 %.",
        0.001,
        ge=0,
    )
    patience: int = option(
        "Training ends after this many epochs in a row in which neither the training loss nor the validation loss improves"
        " enough (min_improvement).",
        2,
        ge=1,
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "Precision of matrix products. 'auto': in training, bfloat16 if the machine computes it faster; for vectors, the"
        " precision of the encoder's training. The model card and the manifest state which precision was used.",
        "auto",
    )
    compile: Literal["auto", "on", "off"] = option(
        "Whether torch.compile fuses the layers. 'auto': on GPUs; on a CPU it costs a minute and gains little.", "auto"
    )
    on_new_extract: Literal["embed", "warm_start", "retrain"] = option(
        "What happens to the model when the data change. 'embed': the model stays as it is; new and changed patients are"
        " embedded with it and assigned to the existing clusters. 'warm_start': the model is trained further from its last"
        " weights; 'retrain': it is trained from random weights. After either, vectors and clusters are computed again, and the"
        " report shows how old and new clusters overlap. If there is no model yet, or if settings that it depends on have"
        " changed, it is always trained from random weights.",
        "embed",
        role="operation",
    )
    checkpoint_seconds: float = option(
        "Seconds between checkpoints, from which a killed training run resumes. 0: a checkpoint after each update.",
        60.0,
        role="tuning",
        ge=0,
    )
    transfer: TransferSettings = option(
        "Where the encoder starts, if not from random weights.", TransferSettings(), later=True
    )
    keep_checkpoints: int = option(
        "Number of checkpoints to keep, in addition to that of the best epoch.", 2, role="tuning", ge=1
    )

    @property
    def epochs(self) -> int:
        """Return the largest number of training epochs; 0 if nothing is trained."""
        return self.max_epochs if self.transfer.trains else 0

    @property
    def auxiliary_weights(self) -> dict[str, float]:
        """Return the weights of the losses used in addition to the objective, by name."""
        weights = {"contrastive": self.contrastive.weight, "metadata": self.metadata.weight}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def predicted(self) -> tuple[str, ...]:
        """Return the attributes of patients that the encoder learns to predict."""
        return self.metadata.attributes if self.metadata.weight else ()

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.hidden_size % self.heads:
            yield f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads})."
        if self.contrastive.weight and 2 * self.contrastive.fewest_tokens > self.context:
            yield (
                f"contrastive.fewest_tokens ({self.contrastive.fewest_tokens}) must be at most half of context ({self.context})."
            )
        if self.tokens_per_step < self.context:
            yield f"tokens_per_step ({self.tokens_per_step}) must be at least context ({self.context})."
        if self.transfer.frozen_layers > self.layers:
            yield f"transfer.frozen_layers ({self.transfer.frozen_layers}) must be at most layers ({self.layers})."
        if self.transfer.frozen_layers and not self.transfer.checkpoint:
            yield "transfer.frozen_layers keeps layers of another study's checkpoint unchanged, but transfer.checkpoint is empty."
        if not self.transfer.trains and self.on_new_extract == "warm_start":
            yield "on_new_extract = 'warm_start' trains on, but transfer.use = 'direct' trains nothing. Set it to 'embed'."
