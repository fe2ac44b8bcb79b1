"""
The second part of the demo: a survey over topography and a measured profile
============================================================================

Runs the examples of both if their data are on this machine or can be downloaded. Otherwise it
prints which data are missing, and continues.
"""

import runpy
from pathlib import Path

from skgrav.datasets import fetch_pelotas_profile, fetch_two_bodies

EXAMPLES = Path(__file__).resolve().parent
SURVEYS = {
    "0_tutorials/plot_area_with_terrain.py": fetch_two_bodies,
    "6_real_data/plot_real_profile.py": fetch_pelotas_profile,
}

for script, fetch in SURVEYS.items():
    try:
        fetch()
    except (ImportError, OSError) as error:
        print(f"\nWithout {script}, whose data are missing: {error}")
        continue
    print(f"\nRunning examples/{script} ...")
    runpy.run_path(str(EXAMPLES / script))
