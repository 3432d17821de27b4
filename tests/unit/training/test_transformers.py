"""Vision transformers as encoders: tokens of any patch and window, at the strides that decoders want."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tilewright.bundles.onnxfiles import write_onnx
from tilewright.project.config import Network
from tilewright.runtime.errors import UserError
from tilewright.training.architectures import build_network, check_network, parameters
from tilewright.training.foundations import FOUNDATIONS, Foundation, is_transformer
from tilewright.training.transformers import TransformerEncoder, in_whole_patches, placed

ARCHITECTURES = (
    "Unet", "UnetPlusPlus", "Linknet", "MAnet", "FPN", "PSPNet", "PAN", "DeepLabV3", "DeepLabV3Plus", "Segformer",
    "UPerNet",
)  # fmt: skip
NARROW = {"decoder_channels": [16, 16, 8, 8, 8]}
PATCHES = (8, 14, 16)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Transformers of four narrow blocks by the names tiny8, tiny14, tiny16, and rotary, without absolute positions."""
    for patch in PATCHES:
        shape = {"patch_size": patch, "img_size": 8 * patch, "depth": 4}
        monkeypatch.setitem(FOUNDATIONS, f"tiny{patch}", Foundation("any/any", "test_vit", "any", 14, 0, shape))
    rotary = Foundation("any/any", "vit_tiny_patch16_dinov3_qkvb", "any", 16, 0, {"depth": 4})
    monkeypatch.setitem(FOUNDATIONS, "rotary", rotary)


def network(**options):
    return Network(**{"tiles": "any", "encoder": "tiny14", "encoder_weights": "random", **options})


def built(**options):
    torch.manual_seed(0)
    return build_network(network(**options), 2, pretrained=False).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_of_the_library_takes_tokens_of_a_patch_that_divides_no_stride(architecture):
    segmenter = built(architecture=architecture)
    with torch.no_grad():
        assert segmenter(torch.zeros(1, 3, 150, 129, dtype=torch.uint8)).shape == (1, 2, 150, 129)


@pytest.mark.parametrize("encoder", ["tiny8", "tiny14", "tiny16", "rotary", "tu-test_vit"])
def test_any_window_will_do_and_everything_learns(encoder):
    segmenter = built(encoder=encoder, options=NARROW, deep_supervision=1, image_loss=0.1).train()
    outputs = segmenter.outputs(torch.randint(0, 256, (2, 3, 70, 45), dtype=torch.uint8))
    assert outputs.logits.shape == (2, 2, 70, 45)
    torch.stack(
        [each.square().sum() for each in (outputs.logits, *outputs.coarser, outputs.occurrence)]
    ).sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in segmenter.parameters())
    assert parameters(network(encoder=encoder, options=NARROW), 2) > 500_000


@pytest.mark.parametrize(("depth", "largest"), [(2, 32), (3, 32), (5, 32), (5, 16), (5, 8)])
def test_features_have_the_strides_and_channels_that_a_decoder_is_told(depth, largest):
    encoder = TransformerEncoder("tiny14", pretrained=False, depth=depth, output_stride=largest)
    found = encoder(torch.randn(2, 3, 64, 96))
    strides = [min(2**level, largest) for level in range(depth + 1)]
    assert [each.shape for each in found] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.out_channels, strides, strict=True)
    ]
    assert encoder.output_stride == strides[-1]


def test_the_coarsest_level_has_the_tokens_of_the_last_block_and_finer_ones_those_of_earlier_blocks():
    encoder = TransformerEncoder("tiny16", pretrained=False).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = encoder(image)
        for parameter in encoder.transformer.blocks[2].parameters():
            parameter.add_(1)
        changed = [not torch.equal(a, b) for a, b in zip(before, encoder(image), strict=True)]
    assert changed == [False, False, False, False, True, True]


class Means(nn.Module):
    """In place of a transformer: tokens that are the mean of their patch, the same at each depth."""

    def __init__(self, patch):
        super().__init__()
        self.patch = patch

    def forward_intermediates(self, images, indices, **_):
        return [functional.avg_pool2d(images[:, :1], self.patch).flatten(2).transpose(1, 2)] * len(indices)


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("level", [2, 3, 4, 5])
def test_a_bright_patch_is_found_where_it_lies(patch, level):
    """In rows and columns apart, near both ends of a window that is no multiple of 14 pixels."""
    encoder = TransformerEncoder(f"tiny{patch}", pretrained=False).eval()
    encoder.transformer, encoder.projections = Means(patch), nn.ModuleList([nn.Identity()] * 4)
    stride = 2**level
    for row, column in ((2, 8), (10, 3)):
        image = torch.zeros(1, 3, 192, 160)
        image[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 1
        seen = encoder(image)[level][0, -1].detach()
        assert seen.sum() > 0
        for axis, place in ((1, row), (0, column)):
            mass = seen.sum(dim=axis)
            center = ((torch.arange(len(mass)) + 0.5) * stride * mass).sum() / mass.sum()
            assert center == pytest.approx((place + 0.5) * patch, abs=0.1 * max(patch, stride))


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_tokens_that_say_where_they_lie_say_it_of_cells_too(patch, stride):
    patches = -(-256 // patch)
    places = (torch.arange(patches) + 0.5) * patch
    grid = torch.stack([places[:, None].expand(-1, patches), places.expand(patches, -1)])[None]
    cells = (torch.arange(256 // stride) + 0.5) * stride
    inner = (cells > max(patch, stride)) & (cells < 256 - max(patch, stride))
    rows, columns = placed(grid, (len(cells), len(cells)), stride / patch)[0]
    # means over a few patches lie between them where patches and cells do not fit
    tolerance = 1e-3 if stride <= patch or stride % patch == 0 else 0.1 * patch
    assert (rows - cells[:, None])[inner].abs().max() < tolerance
    assert (columns - cells)[:, inner].abs().max() < tolerance


def test_cells_that_are_larger_than_patches_take_all_of_them_equally():
    assert torch.allclose(placed(torch.ones(1, 1, 20, 20), (5, 5), 4.0), torch.ones(5, 5))
    impulses = torch.eye(20)[:, None, :, None].expand(-1, 1, -1, 20)  # a row of patches each
    taken = placed(impulses, (5, 5), 4.0).sum(dim=(1, 2, 3))
    assert torch.allclose(taken[6:14], taken[10].expand(8))


def test_what_is_missing_to_a_patch_is_the_mirror_image():
    image = torch.arange(20.0).view(1, 1, 4, 5)
    found = in_whole_patches(image, 3)
    assert torch.equal(found[..., :4, :5], image)
    assert torch.equal(found[0, 0, 4:, :5], image[0, 0].flip(0)[:2])
    assert torch.equal(found[0, 0, :4, 5:], image[0, 0].flip(1)[:, :1])
    assert in_whole_patches(image[..., :3, :3], 3).shape[-2:] == (3, 3)


@pytest.mark.parametrize("encoder", ["lunit-s8", "tu-test_vit"])
def test_dpt_keeps_the_librarys_own_treatment_at_any_window(encoder):
    segmenter = built(architecture="DPT", encoder=encoder, options={"decoder_fusion_channels": 16})
    assert not isinstance(segmenter.network.encoder, TransformerEncoder)
    with torch.no_grad():
        assert segmenter(torch.zeros(1, 3, 70, 45, dtype=torch.uint8)).shape == (1, 2, 70, 45)


@pytest.mark.parametrize("encoder", ["tiny14", "virchow2"])
def test_a_patch_that_dpt_cannot_have_is_an_error_before_anything_is_built(encoder):
    with pytest.raises(UserError) as caught:
        check_network(network(architecture="DPT", encoder=encoder))
    said = f"DPT takes patches of 8 or 16 pixels, and those of {encoder} have 14.\n  Use Unet, FPN, UPerNet or another"
    assert str(caught.value).startswith(f"config, models: {said}")


def test_names_of_transformers_are_known_from_those_of_other_networks():
    transformers = ("uni2-h", "tu-vit_small_patch8_224", "tu-vit_small_patch8_224.dino", "tu-eva02_tiny_patch14_224")
    assert all(map(is_transformer, transformers))
    others = ("resnet18", "tu-resnet18", "tu-swin_tiny_patch4_window7_224", "vit_small_patch8_224", "mit_b0", "")
    assert not any(map(is_transformer, others))
    meant = {
        "uni2h": "uni2-h",
        "vit_tiny_patch16_224": "tu-vit_tiny_patch16_224",
        "hf-hub:x/H-optimus-0": "h-optimus-0",
    }
    for name, right in meant.items():
        with pytest.raises(UserError, match=rf'encoder "{name}" is unknown.\n  Did you mean "{right}"'):
            check_network(network(encoder=name))


def test_a_depth_that_leaves_no_tokens_is_an_error_that_says_so():
    with pytest.raises(UserError, match="encoder_depth of a transformer is 2 to 5, not 1"):
        built(options={"encoder_depth": 1, "decoder_channels": [8]})


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["tiny14", "rotary"])
def test_an_exported_network_gives_the_same_logits_at_any_size(encoder, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    known = FOUNDATIONS[encoder]
    monkeypatch.setitem(FOUNDATIONS, encoder, replace(known, arguments={**known.arguments, "depth": 2}))
    segmenter = built(encoder=encoder, options={"encoder_depth": 3, "decoder_channels": [16, 8, 8]})
    for name, parameter in segmenter.named_parameters():
        if name.endswith("pos_embed"):
            nn.init.normal_(parameter)
    write_onnx(segmenter, tmp_path / "model.onnx", output="logits", facts={})
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 32, 160), (3, 3, 130, 61), (1, 3, 224, 224)):
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        with torch.inference_mode():
            expected = segmenter(torch.from_numpy(images)).numpy()
        (found,) = session.run(None, {"images": images})
        assert np.abs(found - expected).max() < 1e-4
