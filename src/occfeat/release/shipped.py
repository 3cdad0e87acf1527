"""Released files of a run: `weights.safetensors`, and `model.json`, which describes the network.

`ShippedModel` publishes both files, with a README, through huggingface_hub.
"""

import json
from pathlib import Path

import torch
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import ModelCardData as HubCardData
from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.errors import RunError, WeightsError
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import write_atomic, write_text_atomic
from occfeat.models.students.build import build_student
from occfeat.models.weights.loading import load_checked, read_weights_file, require_fit
from occfeat.release.model import BevModel
from occfeat.release.publication import README, describe
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.folder import RunFolder
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import Segmenter


def write_model(folder: Path, network: nn.Module, card: ModelCard, *, only: str = "") -> None:
    """Write weights and card to a folder, in atomic writes.

    Args:
        folder: A run folder.
        network: The network; its tensors are named `student.…` and `head.…`.
        card: Its description.
        only: Prefix of the tensors to write, such as `student.`.
    """
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()  # tied weights must not share memory in it
        for name, tensor in network.state_dict().items()
        if name.startswith(only)
    }
    write_atomic(RunFolder(folder).weights, lambda temporary: save_file(tensors, temporary))
    text = json.dumps(card.model_dump(mode="json"), indent=2) + "\n"
    write_text_atomic(RunFolder(folder).card, text)


def load_student_weights(student: nn.Module, folder: Path) -> None:
    """Load the student of a pretraining or fine-tuning run, and log a line such as `loaded 214/214 tensors`.

    Raises:
        WeightsError: Names or shapes differ.
    """
    tensors = read_weights_file(RunFolder(folder).weights)
    load_checked(student, _student_tensors(tensors), f"student of {folder}")


def require_described(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    """Read the weights of a run, after checking that its card describes them.

    The student is compared on the `meta` device first, because a damaged card can describe one of any size.

    Raises:
        RunError: The student of the card cannot be built.
        WeightsError: The weights cannot be read, or belong to another student.
    """
    tensors = read_weights_file(RunFolder(folder).weights)
    if card.student.kind == "own":
        return tensors
    try:
        with torch.device("meta"):
            described = build_student(card.student, build_grid(card.grid), load_backbone=False)
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        message = f"{RunFolder(folder).card} describes a student that cannot be built: {error}"
        raise RunError(message, hint="Restore it from a copy.") from error
    require_fit(described, _student_tensors(tensors), f"student of {folder}")
    return tensors


def _student_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the student, without their prefix."""
    prefix = "student."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class ShippedModel(BevModel, ModelHubMixin):
    """A fine-tuned network with its card, which can be saved, published and loaded.

    `save_pretrained(folder)` writes weights, `model.json` and a README; all commands accept such a folder as
    a run. `push_to_hub(name)` publishes the same files. Both take the licence as
    `model_card_kwargs={"license": "…"}`. `from_pretrained` loads these files: tensors and JSON, never code.

    Args:
        segmenter: Student and head.
        card: Their description.
        folder: Their folder.
    """

    def __init__(self, segmenter: Segmenter, card: ModelCard, folder: Path) -> None:
        super().__init__(segmenter, card.classes, card.view.image_size, build_grid(card.grid).bev)
        self.card = card
        self.folder = folder

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and card, for `save_pretrained`."""
        write_model(save_directory, self.segmenter, self.card)

    @classmethod
    def from_pretrained(  # type: ignore[override] # the mixin's asks the hub for a file we do not have
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: torch.device | str = "cpu",
        student: nn.Module | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> "ShippedModel":
        """Load a folder, or download a repository of the hub.

        Args:
            pretrained_model_name_or_path: The folder, or a name such as `someone/bev`.
            device: Device of the network.
            student: The module that was fine-tuned, for a custom student.
            revision: Branch, tag or commit of the repository.
            token: Token of the hub. None: the one of `hf auth login`.
            cache_dir: Folder of downloads.
            force_download: Whether to download existing files again.
            local_files_only: Whether to use only earlier downloads.

        Raises:
            OccFeatError: It cannot be downloaded or loaded; see `load_model`.
        """
        if Path(pretrained_model_name_or_path).is_dir():
            return load_model(pretrained_model_name_or_path, device, student)
        published = RunFolder(Path())
        try:
            folder = snapshot_download(
                str(pretrained_model_name_or_path),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=[published.card.name, published.weights.name, README],
            )
        except Exception as error:  # of many kinds, depending on the network
            what = f"{pretrained_model_name_or_path} is not a folder and could not be downloaded: {error}"
            raise WeightsError(what, hint="Check the name or path and the internet connection.") from error
        return load_model(folder, device, student)

    def generate_model_card(self, *, license: str = "other") -> HubCard:
        """Return the README of the published folder.

        Args:
            license: The hub's identifier of the weights' licence.
        """
        data = HubCardData(
            license=license,
            library_name="occfeat",
            pipeline_tag="image-segmentation",
            tags=["birds-eye-view", "autonomous-driving", self.card.student.kind],
        )
        return HubCard(f"---\n{data.to_yaml()}\n---\n\n{describe(self.folder, self.card)}")


def load_model(
    folder: Path | str, device: torch.device | str = "cpu", student: nn.Module | None = None
) -> ShippedModel:
    """Load a fine-tuned network from its run folder, ready to predict.

    Args:
        folder: The run folder, or the weights in it.
        device: Device of the network.
        student: The module that was fine-tuned, for a custom student; its weights are replaced.

    Raises:
        RunError: The folder does not contain a finished model.
        SettingsError: The run has a custom student and `student` is not given, or vice versa.
        WeightsError: It is a pretraining run, or the weights do not fit.
    """
    folder = RunFolder.of(Path(folder)).path
    card = read_card(folder)
    if card.stage != "segmentation":
        hint = f"Fine-tune it first: occfeat finetune --start {folder} ..."
        raise WeightsError(f"Expected a fine-tuning run, got the pretraining run {folder}.", hint=hint)
    tensors = require_described(card, folder)
    built = build_student(card.student, build_grid(card.grid), student, load_backbone=False)
    head = SegmentationHead(built.channels, len(card.classes), linear=card.linear_head)
    segmenter = Segmenter(built, head)
    load_checked(segmenter, tensors, f"model of {folder}")
    return ShippedModel(segmenter, card, folder).to(device)
