"""Settings of the students: a union discriminated by `kind`; each kind has its own. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from occfeat.settings.strict import Expert, Few, Positive, Strict, WeightsSource

Sampling = Literal["published", "aligned"]
"""Where the published network reads image features."""


class ImageStudentConfig(Strict):
    """Common settings of the students that are built here: the image network and the widths."""

    kind: str
    """Which student this is."""
    backbone: str = "efficientnet_b0"
    """timm name of the image network: convolutional with `features_only`, or a plain vision transformer."""
    backbone_weights: WeightsSource = "hub"
    """`hub` (timm's pretrained weights), `none` (random), `packaged` (the weights of `make demo`, for
    `tf_efficientnet_lite0` and `vit_small_patch14_dinov2`) or the path of a file of timm weights (for vision
    transformers also in Meta's format)."""
    freeze_stem: bool = False
    """Freeze the backbone's layers up to stride 8, statistics included, which takes less time."""
    freeze_backbone: bool = False
    """Freeze the whole backbone; the neck and all that follows are trained."""
    lora_rank: Annotated[int, Field(ge=0, le=1000)] = 0
    """For vision transformers: train updates of this rank in attention, freeze the rest (LoRA). 0: none."""
    image_channels: Positive = 128
    """Channels of the image features that are lifted."""
    bev_channels: Positive = 128
    """Channels of the BEV features."""

    @model_validator(mode="after")
    def _check(self) -> "ImageStudentConfig":
        """Refuse to freeze random weights."""
        kept = {
            "freeze_stem": self.freeze_stem,
            "freeze_backbone": self.freeze_backbone,
            "lora_rank": self.lora_rank,
        }
        if self.backbone_weights == "none" and any(kept.values()):
            name = next(name for name, value in kept.items() if value)
            raise ValueError(f"{name} would freeze random weights: leave it out, or give backbone_weights")
        return self


class SimpleBevConfig(ImageStudentConfig):
    """SimpleBEV: image features averaged at voxel centres, then a BEV network (arXiv 2206.07959)."""

    kind: Literal["simplebev"] = "simplebev"
    """Which student this is."""


class BevFormerConfig(ImageStudentConfig):
    """BEVFormer, single frame: BEV queries attend to the images, then a BEV network (arXiv 2203.17270)."""

    kind: Literal["bevformer"] = "bevformer"
    """Which student this is."""
    layers: Few = 6
    """Layers of self-attention, cross-attention and feed-forward network."""
    heads: Expert[Few] = 8
    """Heads of every attention; `bev_channels` is a multiple of it."""
    heights: Expert[Few] = 4
    """Reference points per pillar, spread evenly over the heights of the grid."""
    points_per_height: Expert[Few] = 2
    """Image positions that each head reads around each reference point."""

    @model_validator(mode="after")
    def _check_channels(self) -> "BevFormerConfig":
        """Refuse channels that the heads cannot share."""
        if self.bev_channels % self.heads or self.bev_channels % 2:
            raise ValueError(
                f"bev_channels {self.bev_channels} must be even and a multiple of the {self.heads} heads"
            )
        return self


class LssConfig(ImageStudentConfig):
    """LSS (lift, splat): a depth distribution per pixel spreads image features in BEV (arXiv 2008.05711)."""

    kind: Literal["lss"] = "lss"
    """Which student this is."""
    depth_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (4.0, 45.0)
    """Smallest and largest depth along the optical axis (the paper's)."""
    depth_bins: Few = 41
    """Bins of equal size between them (the paper's: 1 m)."""

    @model_validator(mode="after")
    def _check_depth(self) -> "LssConfig":
        """Refuse an empty range of depths."""
        if not self.depth_m[0] < self.depth_m[1]:
            raise ValueError(f"expected two numbers as depth_m, the smaller one first, got {self.depth_m}")
        return self


class PublishedSimpleBevConfig(ImageStudentConfig):
    """The network of Simple-BEV's authors, for the weights they published (`occfeat convert`)."""

    kind: Literal["simplebev-published"] = "simplebev-published"
    """Which student this is."""
    backbone: str = "resnet101"
    """timm name of the image network; the published weights are of `resnet101`."""
    sampling: Sampling = "published"
    """Where features are read: `published` as in the authors' code, up to a cell too far to the right and
    bottom, or `aligned`, where the voxel is."""


class OwnStudentConfig(Strict):
    """A module of your own, which Python code passes as `student=…`; settings cannot build it."""

    kind: Literal["own"] = "own"
    """Which student this is."""
    name: str = "Module"
    """Class of the module, for messages only."""


STUDENTS: dict[str, type[Strict]] = {
    "simplebev": SimpleBevConfig,
    "bevformer": BevFormerConfig,
    "lss": LssConfig,
    "simplebev-published": PublishedSimpleBevConfig,
    "own": OwnStudentConfig,
}
"""The settings of each kind of student."""

KINDS = tuple(kind for kind in STUDENTS if kind != "own")
"""The kinds that settings can build."""


def _kind_of(student: object) -> object:
    """Return the kind of a student's settings; the default is SimpleBEV."""
    return student.get("kind", "simplebev") if isinstance(student, dict) else getattr(student, "kind", None)


StudentConfig = Annotated[
    Annotated[SimpleBevConfig, Tag("simplebev")]
    | Annotated[BevFormerConfig, Tag("bevformer")]
    | Annotated[LssConfig, Tag("lss")]
    | Annotated[PublishedSimpleBevConfig, Tag("simplebev-published")]
    | Annotated[OwnStudentConfig, Tag("own")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_student",
        custom_error_message=f"There is no such student; expected one of {', '.join(KINDS)}",
    ),
]
"""Settings of a student. Each kind has its own, so that options of one cannot be given to another."""
