"""What a model can do with a picture, measured on the two at hand: whether its inversion comes back, and where it sees what moved.

    found = check(backbone, autoencoder, image, prompt)
    print("\\n".join(found.lines()))
"""

from .attention import Injected, where_it_holds
from .chart import sight_chart
from .cost import Cost, cost
from .profile import Profile, fingerprint
from .report import SIDES, Check, check
from .round_trip import RoundTrip, autoencoder_psnr, round_trips
from .sight import Sight, where_it_sees
from .sound import broken_times, slope_ratio
from .tuning import FOLLOWS, Tuned, tune

__all__ = [
    "FOLLOWS", "SIDES", "Check", "Cost", "Injected", "Profile", "RoundTrip", "Sight", "Tuned", "autoencoder_psnr", "broken_times", "check",
    "cost", "fingerprint", "round_trips", "sight_chart", "slope_ratio", "tune", "where_it_holds", "where_it_sees",
]  # fmt: skip
