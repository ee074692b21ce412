"""`python3 -m overlayctl`, for a checkout and for build machines that installed it with pip."""

from overlayctl.main import run

run()
