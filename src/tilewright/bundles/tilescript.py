"""From the pixels of a tile to its objects, in TorchScript: networks, views, the mean of members, and ``labelling``.

Networks are traced with edges that are multiples of 32; the other modules are compiled. All of it leaves in one file.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tilewright.bundles.chosen import Chosen
from tilewright.bundles.labelling import Wanted, label_objects
from tilewright.inference.views import views
from tilewright.runtime.errors import DataError, Problem

EDGES = (64, 96)
"""Rows and columns of the tile that is traced."""
TRIED = ((2, 3, 96, 64), (1, 3, 160, 32))
"""Shapes at which a traced network is compared with the network."""
TOLERANCE = 1e-4


class TileMember(nn.Module):
    """The mean of a member's networks over its views, in whole numbers from 0 to 255.

    Attributes:
        networks: traced; take batch x 3 x rows x columns, 0 to 255, edges being multiples of 32, and give logits.
        flips: of each view the axes that are flipped.
        turned: of each view whether rows become columns after it.
        places: which bands are taken, in their order.
    """

    flips: list[list[int]]
    turned: list[bool]
    places: list[int]

    def __init__(
        self, networks: Sequence[nn.Module], seen: Sequence[tuple[Sequence[int], bool]], places: Sequence[int]
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.flips = [list(flip) for flip, _ in seen]
        self.turned = [turned for _, turned in seen]
        self.places = list(places)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities times 255, batch x bands x rows x columns, float32."""
        total = torch.zeros(1, device=images.device)
        for network in self.networks:
            for view in range(len(self.turned)):
                flip = self.flips[view]
                seen = images.flip(flip) if len(flip) > 0 else images
                seen = seen.transpose(-2, -1) if self.turned[view] else seen
                rows, columns = seen.shape[-2], seen.shape[-1]
                found = torch.sigmoid(network(whole_multiples(seen))[:, :, :rows, :columns])
                found = found.transpose(-2, -1) if self.turned[view] else found
                total = total + (found.flip(flip) if len(flip) > 0 else found)
        mean = total / (len(self.networks) * len(self.turned))
        return torch.floor(mean[:, self.places] * 255 + 0.5)


class TileObjects(nn.Module):
    """What QuPath's InstanSeg extension asks: a label image of a tile whose pixels it has scaled by percentiles.

    Attributes:
        members: take images and give probabilities times 255.
        shares: what each counts; they sum to 1.
        band: the class among the bands.
        mix: bands whose weighted sum tells seeds; empty: there are none.
        weights: their weights.
        level: what the sum exceeds, 0 to 255.
        wanted: what becomes an object.
    """

    low: Tensor
    span: Tensor
    shares: list[float]
    mix: list[int]
    weights: list[float]
    wanted: Wanted

    def __init__(
        self,
        members: Sequence[nn.Module],
        shares: Sequence[float],
        levels: Sequence[tuple[float, float]],
        band: int,
        mix: dict[int, float],
        level: float,
        wanted: Wanted,
    ) -> None:
        """Put it together.

        Args:
            members: the members.
            shares: what each counts; they sum to 1.
            levels: of each colour the values, 0 to 255, that come as 0 and 1.
            band: the class among the bands.
            mix: the weight of each band in the sum that tells seeds; empty: there are none.
            level: what the sum exceeds, 0 to 255.
            wanted: what becomes an object.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shares = list(shares)
        self.register_buffer("low", torch.tensor([low for low, _ in levels]).view(1, 3, 1, 1))
        self.register_buffer("span", torch.tensor([high - low for low, high in levels]).view(1, 3, 1, 1))
        self.band, self.level, self.wanted = band, level, wanted
        self.mix = list(mix)
        self.weights = list(mix.values())

    def forward(self, x: Tensor, args: dict[str, Tensor] | None = None) -> Tensor:  # noqa: ARG002 - QuPath may give them
        """Labels of objects from 1 on, batch x 1 x rows x columns, float32."""
        images = torch.round((x * self.span + self.low).clamp(0, 255))
        total = torch.zeros(1, device=x.device)
        for place, member in enumerate(self.members):
            total = total + self.shares[place] * member(images)
        values = torch.floor(total + 0.5).cpu()
        found = [self.labelled(values[each]) for each in range(values.shape[0])]
        return torch.stack(found).unsqueeze(1).float().to(x.device)

    def labelled(self, values: Tensor) -> Tensor:
        """Labels of the objects of one tile, of its bands."""
        seeds = torch.empty(0, dtype=torch.bool)
        if len(self.mix) > 0:
            sum_ = self.weights[0] * values[self.mix[0]]
            for place in range(1, len(self.mix)):
                sum_ = sum_ + self.weights[place] * values[self.mix[place]]
            seeds = sum_ > self.level
        return label_objects(values[self.band], seeds, self.wanted)


def whole_multiples(images: Tensor) -> Tensor:
    """Images up to multiples of 32; what is missing is mirrored at the border, as often as need be."""
    for axis in [-2, -1]:
        length = images.shape[axis]
        wanted = (length + 31) // 32 * 32
        if length < wanted:
            place = torch.arange(wanted, device=images.device) % (2 * length)
            images = images.index_select(axis, torch.minimum(place, 2 * length - 1 - place))
    return images


def compiled(module: nn.Module) -> torch.jit.ScriptModule:
    """A module, and all that it calls, as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript will go, which QuPath waits for
        script: torch.jit.ScriptModule = torch.jit.script(module.eval())
    return script


def tile_member(member: Chosen, bands: Sequence[str], *, plain: bool) -> TileMember:
    """A member whose networks are traced.

    Args:
        member: the member.
        bands: the bands that are wanted.
        plain: leave views out.

    Raises:
        DataError: a network does other things with other sizes, which a trace does not hold.
    """
    networks = [traced(network, f"{member.spec.name}.{part}") for part, network in member.networks.items()]
    tta = "none" if plain else member.spec.inference.tta
    seen = [(view.flip, view.turned) for view in views(tta, [1], EDGES)]
    return TileMember(networks, seen, [member.bands.index(name) for name in bands])


def traced(network: nn.Module, name: str) -> torch.jit.ScriptModule:
    """A network as TorchScript, which gives what it gives at other sizes, too.

    Raises:
        DataError: it does not.
    """
    network.requires_grad_(False)
    remedy = "Choose other members by --members; networks of convolutions can be traced."
    draw = torch.Generator().manual_seed(0)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of sizes that the tracer sees as numbers: they are tried below
        try:
            example = 255 * torch.rand(1, 3, *EDGES, generator=draw)
            script: torch.jit.ScriptModule = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
            tried = [255 * torch.rand(shape, generator=draw) for shape in TRIED]
            pairs = [(script(images), network(images)) for images in tried]
        except (RuntimeError, TypeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise DataError(Problem(name, f"cannot be traced by TorchScript ({first}).", remedy)) from error
    largest = max(float((found - wanted).abs().max()) for found, wanted in pairs)
    if not largest <= TOLERANCE:
        what = f"gives logits in TorchScript that differ by up to {largest:.2g} at other sizes than the traced one."
        raise DataError(Problem(name, what, remedy))
    return script
