"""Recipes: one YAML file holds one model's whole run. Strict and typed; every key is explained here and has a default.

In: `recipes/*.yaml` and `key.path=value` overrides. Out: a `Recipe`, or a `RecipeError` that names the key.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import RecipeError, SettingError
from core.problem import Words
from core.sign import DEFAULT_SIGN, Sign

DEFAULT_RECIPE = Path("recipes/nano.yaml")
RUNS = Path("runs")
Fold = Literal["16bit", "nf4", "better", "qat"]


class Section(BaseModel):
    """A recipe section: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BaseSection(Section):
    """The base model."""

    path: Path = Path("training/base/nano")  # folder of safetensors or GGUF: docs/families.md
    chat_format: Literal["own", "chatml"] = "own"  # the base's own template, or ChatML with its markers added


class LessonsSection(Section):
    """Short rows that are learned before the messages, for a base that cannot subtract or knows no Korean."""

    bare: int = Field(default=0, ge=0)  # rows such as "12 7 =" → "5 down"
    beginnings: int = Field(default=0, ge=0)  # messages under the plain prompt, cut after number and direction
    parts: int = Field(default=0, ge=0)  # readings whose messages are learned in parts: data/lessons.py


class ChoicesSection(Section):
    """A part of the catalogue, so that each sentence comes more often: data/choice.py."""

    # first sentences, and second ones about the temperature and about the change, that each reading and season has at
    # least; the widest of the catalogue. None: all of it
    each: int | None = Field(default=None, ge=2)
    # °C that a reading lies inside a sentence's range, where enough sentences are left
    margin: int = Field(default=0, ge=0)


WHOLE_CATALOGUE = ChoicesSection()


class DataSection(Section):
    """The training set."""

    set: Literal["diverse", "large"] = "diverse"  # composed, or hand-written
    rows: int = Field(default=302, ge=1)  # training rows; the hand-written set has 302
    rows_per_scene: int = Field(default=1, ge=1)  # composed neighbours with one park and season: see train.pack
    choices: ChoicesSection = WHOLE_CATALOGUE
    lessons: LessonsSection = LessonsSection()


class LoraSection(Section):
    """The adapter's shape."""

    rank: int = Field(default=32, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    new_tokens: bool = False  # train the embeddings of the markers that base.chat_format chatml adds


class TrainSection(Section):
    """Supervised fine-tuning."""

    epochs: float = Field(default=5, gt=0)
    batch_size: int = Field(default=2, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    scheduler: str = "linear"
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    decay_ratio: float = Field(default=0.3, gt=0, lt=1)  # share of all steps; for warmup_stable_decay only
    max_length: int | None = Field(default=None, ge=32)  # tokens; a longer row is an error, never cut. None: any
    # tokens of a sequence into which neighbouring rows are packed, what their prompts share once; None: a row each.
    # batch_size then counts sequences, and the order of the rows is kept
    pack: int | None = Field(default=None, ge=64)
    pack_bare: int | None = Field(default=None, ge=32)  # the same for bare lessons: short, so many steps
    # matrices in bf16 on a CPU, as always on a GPU. None: where the processor has instructions for it
    bf16: bool | None = False
    load_in_4bit: bool = False  # QLoRA: NF4 with double quantization
    # quantization-aware training: parts and messages are learned on matrices that are rounded to 4 bits in groups of so
    # many input channels; None: not
    qat_group_size: Literal[32, 64, 128] | None = None
    gradient_checkpointing: bool = False
    checkpoints: int = Field(default=5, ge=1)  # saved during training, for --resume
    lora: LoraSection = LoraSection()


class DpoSection(Section):
    """Preference training on top of the SFT adapter, before the fold."""

    enabled: bool = False  # docs/LOG.md has its measured gains and costs
    pairs: int = Field(default=300, ge=0)  # composed: wrong number, direction, label, temperature; awkward, repetitive
    failures: Path | None = None  # a copy of a verdict's answers.jsonl: its wrong answers become rejected texts
    beta: float = Field(default=0.1, gt=0)  # how strongly the loss holds the model to the SFT adapter
    epochs: float = Field(default=1, gt=0)
    batch_size: int = Field(default=2, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    max_length: int | None = Field(default=None, ge=32)  # tokens; a longer pair is an error, never cut. None: any


class MergeSection(Section):
    """Fold the adapter into the 16-bit base."""

    # nf4: into the base rounded to NF4 and back, as QLoRA trained on it; better: the one with the lower held-out loss;
    # qat: rounded to 4 bits after the fold, as quantization-aware training saw it
    fold: Fold = "16bit"
    # largest allowed difference of next-token log-probabilities, merged (bf16) against base + adapter (fp32), nats
    max_logprob_difference: float = Field(default=0.5, gt=0)


class QuantizeSection(Section):
    """AWQ."""

    bits: Literal[4] = 4
    group_size: Literal[32, 64, 128] | None = None  # None: the largest that divides every matrix
    zero_point: bool = True
    duo_scaling: bool = False  # AutoAWQ's default True ruins small models
    clip: bool = True  # search how far to cut off each group's extreme weights
    calibration_rows: int = Field(default=128, ge=1)  # training rows in the serving template, packed into blocks
    calibration_length: int | None = Field(default=None, ge=16)  # tokens per block. None: 256, or the longest row
    calibration_text: Path | None = None  # another text, for comparison: the verdict fails the checkpoint
    max_loss_ratio: float = Field(default=1.10, ge=1)  # held-out loss, quantized / merged
    # held-out loss, AWQ / plain rounding; half a percent is within the spread between calibration samples
    max_over_rounding: float = Field(default=1.005, ge=1)


class GenerationSection(Section):
    """Sampling defaults, written into the checkpoint for bare calls."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.85, gt=0, le=1)
    repetition_penalty: float = Field(
        default=1.0, gt=0
    )  # counts prompt tokens too: above 1 it pushes the model away from the digits
    max_new_tokens: int | None = Field(default=None, ge=16)  # None: the longest training message, and half as much


class VerdictSection(Section):
    """The thresholds that a 4-bit checkpoint must meet before it is served, asked raw for every usual reading.

    Shares are fractions of all answers, 0…1; docs/LOG.md has measured values.
    """

    sign: str = str(DEFAULT_SIGN)  # columns x lines in cells, or scroll; messages must fit it
    rounds: int = Field(default=1, ge=1)  # passes over the grid, each with its own seeds
    right: float = Field(default=0.998, ge=0, le=1)  # number and direction, at least
    labels: float = Field(default=0.0, ge=0, le=1)  # labels or markers, at most
    stopped: float = Field(default=1.0, ge=0, le=1)  # ended by the end-of-turn token, at least
    fits_temperature: float = Field(default=0.998, ge=0, le=1)  # at least
    absent: float = Field(default=0.005, ge=0, le=1)  # names what is not in the park, at most
    unsafe: float = Field(default=0.0, ge=0, le=1)  # in heat, cold or after a sudden change, at most
    untrue: float = Field(default=0.001, ge=0, le=1)  # asserts what nobody measured, or another season, at most
    fits_sign: float = Field(default=0.995, ge=0, le=1)  # at least
    distinct: float = Field(default=0.95, ge=0, le=1)  # different messages in one round, at least
    commonest_activity: float = Field(default=0.01, ge=0, le=1)  # the commonest second sentence's share, at most
    elements: int = Field(default=15, ge=0)  # park elements seen, at least
    loss_ratio: float = Field(default=1.02, ge=1)  # held-out loss, AWQ / merged, at most

    @field_validator("sign")
    @classmethod
    def _is_a_sign(cls, value: str) -> str:
        try:
            return str(Sign.parse(value))
        except SettingError as error:  # pydantic adds where it stands
            raise ValueError(f"{error.what} {error.todo}") from error


class ServeSection(Section):
    """vLLM."""

    model_name: str = "signboard"
    words: Words = Words.STRICT  # words that the catalogue does not have: strict rejects, open shows them
    # tokens, prompt and message; None: the longest prompt, and half as much, and a message
    max_model_len: int | None = Field(default=None, ge=128)
    max_num_seqs: int = Field(default=32, ge=1)  # messages decoded at once
    kv_cache_gib: float | None = Field(default=None, gt=0)  # CPU only; None: twice the need of max_num_seqs contexts
    weights: Literal["4bit", "16bit", "measured"] = "4bit"  # CPU only; measured: the faster ones, found at first start
    cpu_threads: int | None = Field(default=None, ge=1)  # CPU only; None leaves them, and their binding, to vLLM
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)  # GPU only
    enforce_eager: bool = False  # skip compilation: starts faster, writes slower
    drafting: bool = False  # look up how a message probably goes on, and let the model check it in one pass
    draft_tokens: int = Field(default=8, ge=1, le=32)  # at most, for one pass
    draft_threshold: float = Field(default=0.3, gt=0, le=1)  # how likely a whole draft must look by the table


class Recipe(Section):
    """One model's whole run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")  # folder under runs/
    seed: int = 11
    base: BaseSection = BaseSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    dpo: DpoSection = DpoSection()
    merge: MergeSection = MergeSection()
    quantize: QuantizeSection = QuantizeSection()
    generation: GenerationSection = GenerationSection()
    serve: ServeSection = ServeSection()
    verdict: VerdictSection = VerdictSection()

    @model_validator(mode="after")
    def _rounds_as_it_is_served(self) -> "Recipe":
        """Refuse what quantization-aware training cannot see or would not be served, before an hour of training."""
        group, lora = self.train.qat_group_size, self.train.lora
        if not group:
            if self.merge.fold == "qat":
                raise ValueError("merge.fold=qat needs train.qat_group_size")
            return self
        if self.quantize.group_size != group:
            raise ValueError("train.qat_group_size and quantize.group_size must be the same")
        if self.train.load_in_4bit or lora.dropout:
            raise ValueError("train.qat_group_size excludes train.load_in_4bit and train.lora.dropout")
        return self

    @property
    def folder(self) -> Path:
        """The folder of this run's artefacts."""
        return RUNS / self.name

    @property
    def adapter(self) -> Path:
        """The adapter to fold in: DPO's if that is enabled, else SFT's."""
        return self.folder / ("dpo" if self.dpo.enabled else "adapter")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.path=value` overrides.

    Raises:
        RecipeError: the file is missing, its YAML is broken, a key is duplicate or unknown, or a value is wrong.
    """
    content = _read_yaml(path)
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        details = "; ".join(": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in error.errors())
        raise RecipeError(f"{path} is not a valid recipe: {details}.", "pipeline/recipe.py lists every key.") from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that rejects duplicate keys instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise RecipeError(
            f"The recipe {path} cannot be read: {error.strerror}.", "recipes/ has the available ones."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}.", "Compare it with recipes/nano.yaml.") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no settings.", "Compare it with recipes/nano.yaml.")
    return content


def _apply(content: dict[str, Any], override: str) -> None:
    keys, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override!r} has no '='.", "Write it as --set train.epochs=3.")
    *parents, last = keys.strip().split(".")
    for key in parents:
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override!r}: {key} is not a section.", "pipeline/recipe.py lists every key.")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML.", "Quote it.") from error
