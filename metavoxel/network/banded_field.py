"""Residual fields of images whose codes have bands: one independent field for each band.

If the residual's covariance C is block-diagonal over groups of channels, so is every matrix of
:mod:`metavoxel.network.residual_field`, and eq. (1) to (3) there hold for each group alone. With k groups of equal
width, the matrices of a frequency cost k times less to apply, and k^2 times less to compose. A wavelet transform has
such groups: coefficients of different orientations are nearly uncorrelated.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from metavoxel.network.residual_field import AbstractFieldFit, CodeEstimate, Noisy, ResidualField, ResidualFit
from metavoxel.typing import AnyCode


class BandedField(nn.Module):
    """Residuals of images on one grid, with an independent Gaussian random field for each band. Final.

    Args:
        bands: of each image, the number of every channel's band; bands of one number are correlated between images.
        grid: that they share.
    """

    def __init__(self, bands: Sequence[Sequence[int]], grid: tuple[int, ...]) -> None:
        super().__init__()
        numbers = sorted({number for image in bands for number in image})
        self._channels: list[dict[int, Int64[Tensor, _]]] = []
        for number in numbers:
            where = ([channel for channel, one in enumerate(image) if one == number] for image in bands)
            self._channels.append({image: torch.tensor(channels) for image, channels in enumerate(where) if channels})
        self._images = len(bands)
        self.fields = nn.ModuleList(
            ResidualField([len(channels) for channels in members.values()], grid) for members in self._channels
        )

    def _parts(self) -> Iterator[tuple[ResidualField, dict[int, Int64[Tensor, "_"]]]]:
        """Yield each band's field, and by image the channels in that band."""
        for field, members in zip(self.fields, self._channels, strict=True):
            assert isinstance(field, ResidualField)
            yield field, members

    def begin_fit(self) -> "BandedFit":
        """Begin to fit the field of each band."""
        return BandedFit([(field.begin_fit(), members) for field, members in self._parts()], self._widths())

    def _widths(self) -> list[int]:
        """Return the number of channels of every image."""
        return [sum(len(members.get(image, ())) for members in self._channels) for image in range(self._images)]

    def forward(self, images: Sequence[Noisy]) -> list[CodeEstimate]:
        """Return the posterior mean of every image's code and noise given all of them.

        Without noise it is the state itself, and without signal the fitted code. So the fields are only evaluated in
        rows that have both: about a third of those in training.
        """
        solved = ~(_all_zero([image.noise for image in images]) | _all_zero([image.signal for image in images]))
        found = [_without_field(image) for image in images]
        if not solved.any():
            return found
        rows = [Noisy(*(_of_rows(part, solved) for part in image)) for image in images]
        for field, members in self._parts():
            parts = [
                Noisy(rows[i].x[:, channels], rows[i].fitted[:, channels], rows[i].signal, rows[i].noise)
                for i, channels in members.items()
            ]
            for (i, channels), estimate in zip(members.items(), field(parts), strict=True):
                for whole, part in zip(found[i], estimate, strict=True):
                    whole[solved.nonzero(), channels] = part
        return found


class BandedFit(AbstractFieldFit):
    """A fit of the fields of all bands, given each with its channels by image, and the width of every image. Final."""

    def __init__(
        self, parts: Sequence[tuple[ResidualFit, dict[int, Int64[Tensor, "_"]]]], widths: Sequence[int]
    ) -> None:
        self._parts, self._widths = parts, widths

    def add(self, images: Sequence[AnyCode], present: Sequence[Bool[Tensor, "_"]]) -> None:
        for fit, members in self._parts:
            own = [images[image][:, channels] for image, channels in members.items()]
            fit.add(own, [present[image] for image in members])

    def finish(self, uncertainty: Float[Tensor, "c"] | None = None) -> None:
        own = None if uncertainty is None else uncertainty.split(list(self._widths))
        for fit, members in self._parts:
            fit.finish(None if own is None else torch.cat([own[image][where] for image, where in members.items()]))


def _of_rows(part: AnyCode, rows: Bool[Tensor, "b"]) -> AnyCode:
    return part if len(part) == 1 and len(rows) > 1 else part[rows.to(part.device)]


def _all_zero(scales: Sequence[AnyCode]) -> Bool[Tensor, "b"]:
    """Return the rows in which all scales of all images are 0."""
    return torch.stack([(scale == 0).flatten(1).all(1) for scale in scales]).all(0)


def _without_field(image: Noisy) -> CodeEstimate:
    """Return the estimates in rows without noise, or without signal."""
    clean = (image.noise == 0).to(image.x.device)
    return CodeEstimate(torch.where(clean, image.x, image.fitted), torch.where(clean, 0.0, image.x))
