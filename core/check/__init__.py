"""What a model can do with a picture, measured on the two at hand: whether its inversion comes back, and where it sees what moved.

    found = check(backbone, autoencoder, image, prompt)
    print("\\n".join(found.lines()))
"""

from .chart import sight_chart
from .report import QUICK, THOROUGH, Check, check
from .round_trip import RoundTrip, autoencoder_psnr, round_trips
from .sight import Sight, where_it_sees

__all__ = [
    "QUICK", "THOROUGH", "Check", "RoundTrip", "Sight", "autoencoder_psnr", "check", "round_trips", "sight_chart", "where_it_sees",
]  # fmt: skip
