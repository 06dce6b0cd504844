"""What a model can do with a picture, measured on the two at hand: whether its inversion comes back, and where it sees what moved.

    trips = round_trips(backbone, autoencoder, image, prompt)
    sight = where_it_sees(backbone, autoencoder, image, prompt)
    print(sight.best(), sight.of(default_taps))
"""

from .round_trip import RoundTrip, autoencoder_psnr, round_trips
from .sight import Sight, where_it_sees

__all__ = ["RoundTrip", "Sight", "autoencoder_psnr", "round_trips", "where_it_sees"]
