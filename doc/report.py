"""Make the picture of the page about reports, by Chromium without a window.

    python doc/report.py [chromium]

Writes doc/images/report.png from the measured profile of the Pelotas margin.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import skgrav
from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.datasets import fetch_pelotas_profile

FILE = Path(__file__).resolve().parent / "images" / "report.png"
SIZE = "900,1640"


def main(browser="chromium"):
    profile = fetch_pelotas_profile()
    survey = Survey(profile.survey.stations, "z", uncertainty=4.0, trend=0)
    operator = ForwardOperator(Mesh.for_survey(survey, depth=43e3), survey)
    data = profile.data[None]
    inverter = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator).fit(data)
    report = skgrav.report(inverter, data, title="Pelotas margin, southern Brazil")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        report.save(page)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--screenshot={FILE}", f"--window-size={SIZE}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
