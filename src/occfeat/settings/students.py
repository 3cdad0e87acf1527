"""Settings of the students: a union discriminated by `kind`. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from occfeat.settings.strict import Expert, Few, Positive, Strict, WeightsSource

Sampling = Literal["published", "aligned"]
"""Image positions at which the published network reads features."""


class ImageStudentConfig(Strict):
    """Common settings of the built-in students: backbone and channels."""

    kind: str
    """Kind of student."""
    backbone: str = "efficientnet_b0"
    """timm name of the backbone: a CNN that supports `features_only`, or a plain vision transformer."""
    backbone_weights: WeightsSource = "hub"
    """`hub` (timm's pretrained weights), `none` (random), `packaged` (the weights of `make demo`, for
    `tf_efficientnet_lite0` and `vit_small_patch14_dinov2`), or the path of a file in timm's format (vision
    transformers: or Meta's)."""
    freeze_stem: bool = False
    """Freeze the backbone up to stride 8, including its batch statistics, which saves time."""
    freeze_backbone: bool = False
    """Freeze the whole backbone; train the neck and all later layers."""
    lora_rank: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rank of LoRA: freeze a vision transformer except low-rank updates in attention. 0: no LoRA."""
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
            raise ValueError(f"expected pretrained backbone_weights with {name}, got none (random weights)")
        return self


class SimpleBevConfig(ImageStudentConfig):
    """SimpleBEV: image features averaged at voxel centres, then a BEV network (arXiv 2206.07959)."""

    kind: Literal["simplebev"] = "simplebev"
    """Kind of student."""


class BevFormerConfig(ImageStudentConfig):
    """BEVFormer, single frame: BEV queries attend to the images, then a BEV network (arXiv 2203.17270)."""

    kind: Literal["bevformer"] = "bevformer"
    """Kind of student."""
    layers: Few = 6
    """Number of layers of self-attention, cross-attention and feed-forward network."""
    heads: Expert[Few] = 8
    """Number of attention heads; `bev_channels` must be a multiple of it."""
    heights: Expert[Few] = 4
    """Number of reference points per pillar, evenly spaced over the height of the grid."""
    points_per_height: Expert[Few] = 2
    """Number of image positions that each head samples around each reference point."""

    @model_validator(mode="after")
    def _check_channels(self) -> "BevFormerConfig":
        """Refuse channels that the heads cannot share."""
        if self.bev_channels % self.heads or self.bev_channels % 2:
            raise ValueError(
                f"expected an even multiple of {self.heads} heads as bev_channels, got {self.bev_channels}"
            )
        return self


class LssConfig(ImageStudentConfig):
    """LSS (lift, splat): image features spread over a predicted depth distribution (arXiv 2008.05711)."""

    kind: Literal["lss"] = "lss"
    """Kind of student."""
    depth_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (4.0, 45.0)
    """Smallest and largest depth along the optical axis (the paper's)."""
    depth_bins: Few = 41
    """Number of equal depth bins (the paper's: 1 m each)."""

    @model_validator(mode="after")
    def _check_depth(self) -> "LssConfig":
        """Refuse an empty range of depths."""
        if not self.depth_m[0] < self.depth_m[1]:
            raise ValueError(f"expected two numbers as depth_m, the smaller one first, got {self.depth_m}")
        return self


class PublishedSimpleBevConfig(ImageStudentConfig):
    """The network of Simple-BEV's authors, for their published weights (`occfeat convert`)."""

    kind: Literal["simplebev-published"] = "simplebev-published"
    """Kind of student."""
    backbone: str = "resnet101"
    """timm name of the backbone: `resnet101`, `resnet50` or `resnet152`."""
    sampling: Sampling = "published"
    """Image positions at which features are read: `published` as in the authors' code, up to a cell too far
    right and down, or `aligned` with the voxels."""


class OwnStudentConfig(Strict):
    """A custom module, which Python code passes as `student=…`; settings cannot build it."""

    kind: Literal["own"] = "own"
    """Kind of student."""
    name: str = "Module"
    """Class name of the module, for messages."""


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
        custom_error_message=f"Unknown student; expected one of {', '.join(KINDS)}",
    ),
]
"""Settings of a student, discriminated by `kind`."""
